//! The attribute `cached`: what its functions share, store and leave out.

use std::any::type_name;
use std::convert::Infallible;
use std::fmt::{Debug, Display};
use std::num::ParseIntError;
use std::sync::Arc;
use std::time::Duration;

use cache_house::{CacheHandle, CacheHouse, CacheOptions, KeyContext, ManualClock, cached, opts};
use serde::Serialize;

use crate::support::{alone, current_thread, logs, multi_thread};

mod evict;
mod freshness;
mod interpolation;
mod results;
mod tags;

fn memory() -> CacheHandle {
    CacheHouse::builder().memory().build().expect("the builder is right")
}

/// How often work has run, and how often it hadn't to.
fn runs_and_hits(cache: &CacheHandle) -> (u64, u64) {
    let stats = cache.stats();
    (stats.runs, stats.memory_hits)
}

mod free_functions {
    use super::*;

    #[cached(handle = cache, skip(cache))]
    fn double(cache: &CacheHandle, n: u64) -> u64 {
        n * 2
    }

    #[cached(handle = cache, skip(cache))]
    async fn shout(cache: &CacheHandle, text: &str, times: usize) -> String {
        tokio::task::yield_now().await;
        text.to_uppercase().repeat(times)
    }

    #[test]
    fn a_call_runs_once_for_equal_arguments() {
        let cache = memory();
        assert_eq!([double(&cache, 1), double(&cache, 1), double(&cache, 2)], [2, 2, 4]);
        assert_eq!(runs_and_hits(&cache), (2, 1));
        current_thread().block_on(async {
            assert_eq!(shout(&cache, "a", 2).await, "AA");
            assert_eq!(shout(&cache, &String::from("a"), 2).await, "AA");
            assert_eq!(shout(&cache, "a", 3).await, "AAA");
        });
        assert_eq!(runs_and_hits(&cache), (4, 2));
    }

    #[test]
    fn the_uncached_sibling_always_runs() {
        let cache = memory();
        assert_eq!([double_uncached(&cache, 1), double_uncached(&cache, 1)], [2, 2]);
        assert_eq!(current_thread().block_on(shout_uncached(&cache, "a", 2)), "AA");
        assert_eq!(runs_and_hits(&cache), (0, 0));
    }

    #[test]
    fn the_options_sibling_and_options_by_hand_name_the_same_entry() {
        let cache = memory();
        double(&cache, 7);
        assert_eq!(cache.get::<u64>(double_options(7)), Some(14));
        assert_eq!(cache.remove(double_options(7)).expect("memory forgets it").entries, 1);
        double(&cache, 7);
        assert_eq!(runs_and_hits(&cache).0, 2);
        assert_eq!(cache.remove(opts!("double", 7)).expect("memory forgets it").entries, 1);
        assert!(!cache.contains(double_options(7)));
        current_thread().block_on(shout(&cache, "a", 2));
        assert_eq!(cache.remove(opts!("shout", "a", 2)).expect("memory forgets it").entries, 1);
    }

    #[cached(handle = cache, skip(cache))]
    fn fibonacci(cache: &CacheHandle, n: u64) -> u64 {
        if n < 2 { n } else { fibonacci(cache, n - 1) + fibonacci(cache, n - 2) }
    }

    #[cached(handle = cache, skip(cache))]
    async fn fibonacci_async(cache: CacheHandle, n: u64) -> u64 {
        if n < 2 {
            return n;
        }
        let one = Box::pin(fibonacci_async(cache.clone(), n - 1)).await;
        one + Box::pin(fibonacci_async(cache, n - 2)).await
    }

    #[test]
    fn a_recursive_function_is_computed_once_for_each_step() {
        let cache = memory();
        assert_eq!(fibonacci(&cache, 10), 55);
        assert_eq!(runs_and_hits(&cache).0, 11);
        let runtime = multi_thread(1);
        let call = runtime.spawn(fibonacci_async(cache.clone(), 10));
        assert_eq!(runtime.block_on(call).expect("it ends"), 55);
        assert_eq!(runs_and_hits(&cache).0, 22);
    }

    #[test]
    fn a_closed_handle_leaves_the_function_as_it_was() {
        let cache = memory();
        cache.close();
        assert_eq!([double(&cache, 1), double(&cache, 1)], [2, 2]);
        assert_eq!(runs_and_hits(&cache), (2, 0));
    }
}

mod installed {
    use super::*;

    #[cached]
    fn half(n: u64) -> u64 {
        n / 2
    }

    #[cached(namespace = "parsed")]
    async fn parse(text: String) -> Result<u8, ParseIntError> {
        text.parse()
    }

    #[test]
    fn the_installed_handle_is_the_default_and_without_one_functions_just_run() {
        alone("macros::installed::the_installed_handle_is_the_default_and_without_one_functions_just_run", || {
            logs::capture();
            let runtime = current_thread();
            assert_eq!([half(4), half(4)], [2, 2]);
            assert_eq!(runtime.block_on(parse("7".into())), Ok(7));

            let warnings = logs::containing("no handle is installed");
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(warnings[0].text.contains("macros::installed::half"), "{warnings:?}");

            let cache = memory();
            CacheHouse::install(cache.clone());
            assert_eq!([half(4), half(4)], [2, 2]);
            assert_eq!(runs_and_hits(&cache), (1, 1));
            assert_eq!(runtime.block_on(parse("7".into())), Ok(7));
            assert_eq!(runtime.block_on(parse("7".into())), Ok(7));
            assert_eq!(runs_and_hits(&cache), (2, 2));
            assert_eq!(cache.clear_namespace("parsed").map(|cleared| cleared.entries).ok(), Some(1));
        });
    }
}

mod methods {
    use super::*;

    struct Users {
        cache: CacheHandle,
        greeting: &'static str,
    }

    struct Groups {
        cache: CacheHandle,
    }

    impl Users {
        #[cached(handle = self.cache)]
        async fn greet(&self, name: &str) -> String {
            format!("{}, {name}", self.greeting)
        }

        #[cached(handle = self.cache, key(self.greeting, name))]
        fn greet_exactly(&self, name: &str) -> String {
            format!("{}, {name}", self.greeting)
        }

        #[cached(handle = cache, skip(cache), associated = true)]
        fn count(cache: &CacheHandle) -> u8 {
            1
        }

        #[cached(handle = self.cache)]
        fn length(mut self, suffix: String) -> usize {
            self.greeting = "";
            self.greeting.len() + suffix.len()
        }

        #[cached(handle = self.cache)]
        fn rename(&mut self, greeting: &'static str) -> String {
            self.greeting = greeting;
            greeting.to_owned()
        }

        #[cached(handle = self.cache)]
        async fn shared(self: Arc<Self>) -> String {
            self.greeting.to_owned()
        }
    }

    impl Groups {
        #[cached(handle = cache, skip(cache), associated = true)]
        fn count(cache: &CacheHandle) -> u8 {
            2
        }

        #[cached(handle = self.cache)]
        async fn greet(&self, name: &str) -> String {
            format!("all of {name}")
        }
    }

    fn users(cache: &CacheHandle, greeting: &'static str) -> Users {
        Users { cache: cache.clone(), greeting }
    }

    #[test]
    fn instances_share_and_types_do_not() {
        let cache = memory();
        current_thread().block_on(async {
            assert_eq!(users(&cache, "Hi").greet("Ada").await, "Hi, Ada");
            assert_eq!(users(&cache, "Hello").greet("Ada").await, "Hi, Ada");
            assert_eq!(Groups { cache: cache.clone() }.greet("Ada").await, "all of Ada");
        });
        assert_eq!([Users::count(&cache), Groups::count(&cache), Users::count(&cache)], [1, 2, 1]);
        assert_eq!(runs_and_hits(&cache), (4, 2));
        assert_eq!(cache.remove(Users::greet_options("Ada")).expect("memory forgets it").entries, 1);
        assert!(
            cache
                .remove(CacheOptions::new("greet").module(type_name::<Groups>()).arg("Ada"))
                .is_ok_and(|removed| removed.entries == 1)
        );
    }

    #[test]
    fn self_is_part_of_the_key_where_key_says_so() {
        let cache = memory();
        let (hi, hello) = (users(&cache, "Hi"), users(&cache, "Hello"));
        assert_eq!(hi.greet_exactly("Ada"), "Hi, Ada");
        assert_eq!(hello.greet_exactly("Ada"), "Hello, Ada");
        assert_eq!(hi.greet_exactly("Ada"), "Hi, Ada");
        assert_eq!(runs_and_hits(&cache), (2, 1));
        assert_eq!(cache.remove(hi.greet_exactly_options("Ada")).expect("memory forgets it").entries, 1);
        assert!(cache.contains(hello.greet_exactly_options("Ada")));
    }

    #[test]
    fn self_may_be_moved_changed_or_shared_by_the_work() {
        let cache = memory();
        assert_eq!(users(&cache, "Hi").length("abc".into()), 3);
        assert_eq!(users(&cache, "Hi").length("abc".into()), 3);
        let mut changed = users(&cache, "Hi");
        assert_eq!(changed.rename("Hello"), "Hello");
        assert_eq!(changed.greeting, "Hello");
        let shared = Arc::new(changed);
        let runtime = multi_thread(1);
        assert_eq!(runtime.block_on(runtime.spawn(Arc::clone(&shared).shared())).expect("it ends"), "Hello");
        assert_eq!(runtime.block_on(shared.shared()), "Hello");
        assert_eq!(runs_and_hits(&cache), (3, 2));
    }

    trait Named {
        fn name(&self) -> String;
        fn cache(&self) -> CacheHandle;

        #[cached(handle = self.cache())]
        fn long_name(&self, title: &str) -> String {
            format!("{title} {}", self.name())
        }
    }

    impl Named for Users {
        fn name(&self) -> String {
            "user".into()
        }
        fn cache(&self) -> CacheHandle {
            self.cache.clone()
        }
    }

    impl Named for Groups {
        fn name(&self) -> String {
            "group".into()
        }
        fn cache(&self) -> CacheHandle {
            self.cache.clone()
        }
    }

    #[test]
    fn a_default_method_is_keyed_by_the_implementing_type() {
        let cache = memory();
        let (user, group) = (users(&cache, "Hi"), Groups { cache: cache.clone() });
        assert_eq!([user.long_name("the"), group.long_name("the")], ["the user", "the group"]);
        assert_eq!([user.long_name("the"), group.long_name("the")], ["the user", "the group"]);
        assert_eq!(runs_and_hits(&cache), (2, 2));
    }
}

mod generics {
    use super::*;

    #[cached(handle = cache, skip(cache))]
    fn largest<T: Display + TryFrom<u64>, const BITS: u32>(cache: &CacheHandle) -> String
    where
        T::Error: Debug,
    {
        T::try_from((1 << BITS) - 1).map_or_else(|_| type_name::<T>().to_owned(), |largest| largest.to_string())
    }

    #[cached(handle = cache, skip(cache))]
    async fn text<'a, T: ToString + Serialize + ?Sized>(cache: &'a CacheHandle, value: &'a T) -> String {
        format!("{} {}", type_name::<T>(), value.to_string())
    }

    struct Store<T> {
        cache: CacheHandle,
        value: T,
    }

    impl<T: Display + Clone> Store<T> {
        #[cached(handle = self.cache)]
        fn show(&self) -> String {
            self.value.to_string()
        }
    }

    #[test]
    fn instances_of_a_generic_function_do_not_share() {
        let cache = memory();
        for _ in 0..2 {
            assert_eq!(largest::<u16, 8>(&cache), "255");
            assert_eq!(largest::<u16, 9>(&cache), "511");
            assert_eq!(largest::<u8, 9>(&cache), "u8");
        }
        assert_eq!(runs_and_hits(&cache), (3, 3));
        assert_eq!(cache.remove(largest_options::<u16, 9>()).expect("memory forgets it").entries, 1);
        let by_hand = opts!("largest", T = type_name::<u8>(), BITS = 9);
        assert_eq!(cache.remove(by_hand).expect("memory forgets it").entries, 1);
        assert_eq!(largest::<u16, 8>(&cache), "255");
        assert_eq!(runs_and_hits(&cache), (3, 4));
    }

    #[test]
    fn equal_arguments_of_different_types_do_not_share() {
        let cache = memory();
        let (one, two, three) = current_thread()
            .block_on(async { (text(&cache, &1_u8).await, text(&cache, &1_u16).await, text(&cache, "1").await) });
        assert_eq!([one.as_str(), &two, &three], ["u8 1", "u16 1", "str 1"]);
    }

    #[test]
    fn methods_of_a_generic_type_are_keyed_by_the_whole_type() {
        let cache = memory();
        let (number, text) = (Store { cache: cache.clone(), value: 1 }, Store { cache: cache.clone(), value: "one" });
        for _ in 0..2 {
            assert_eq!([number.show(), text.show()], ["1", "one"]);
        }
        assert_eq!(runs_and_hits(&cache), (2, 2));
    }
}

mod values {
    use super::*;

    type Fallible<T> = Result<T, ParseIntError>;

    #[cached(handle = cache, skip(cache))]
    fn parse(cache: &CacheHandle, text: &str) -> Result<u8, ParseIntError> {
        text.parse()
    }

    #[cached(handle = cache, skip(cache), result = true)]
    async fn parse_by_alias(cache: CacheHandle, text: String) -> Fallible<u8> {
        text.parse()
    }

    #[cached(handle = cache, skip(cache), result = false)]
    fn judge(cache: &CacheHandle, n: u8) -> Result<u8, String> {
        if n < 3 { Ok(n) } else { Err("too much".into()) }
    }

    #[cached(handle = cache, skip(cache))]
    fn find(cache: &CacheHandle, n: u8) -> Option<u8> {
        n.checked_sub(3)
    }

    #[test]
    fn only_ok_is_stored() {
        let cache = memory();
        assert!(parse(&cache, "x").is_err() && parse(&cache, "x").is_err());
        assert_eq!((parse(&cache, "7"), parse(&cache, "7")), (Ok(7), Ok(7)));
        assert_eq!(runs_and_hits(&cache), (3, 1));
        assert_eq!(cache.get::<u8>(parse_options("7")), Some(7));
        let call = |text: &str| current_thread().block_on(parse_by_alias(cache.clone(), text.into()));
        assert!(call("x").is_err() && call("x").is_err());
        assert_eq!((call("7"), call("7")), (Ok(7), Ok(7)));
        assert_eq!(runs_and_hits(&cache), (6, 3));
    }

    #[test]
    fn a_result_may_be_stored_whole() {
        let cache = memory();
        assert_eq!([judge(&cache, 9), judge(&cache, 9)], [Err("too much".into()), Err("too much".into())]);
        assert_eq!(runs_and_hits(&cache), (1, 1));
    }

    #[test]
    fn none_is_a_value() {
        let cache = memory();
        assert_eq!([find(&cache, 2), find(&cache, 2), find(&cache, 5)], [None, None, Some(2)]);
        assert_eq!(runs_and_hits(&cache), (2, 1));
        assert_eq!(cache.get::<Option<u8>>(find_options(2)), Some(None));
    }

    #[derive(Clone, PartialEq, Debug)]
    struct Celsius(f64);

    impl Celsius {
        fn encode(&self) -> Result<Vec<u8>, Infallible> {
            Ok(self.0.to_be_bytes().to_vec())
        }
    }

    #[cached(
        handle = cache,
        skip(cache),
        encoder = Celsius::encode,
        decoder = |bytes: &[u8]| bytes.try_into().map(f64::from_be_bytes).map(Celsius),
    )]
    fn temperature(cache: &CacheHandle, city: &str) -> Celsius {
        Celsius(city.len() as f64)
    }

    #[test]
    fn a_pair_of_functions_stores_a_type_without_serde() {
        let cache = memory();
        assert_eq!([temperature(&cache, "Oslo"), temperature(&cache, "Oslo")], [Celsius(4.0), Celsius(4.0)]);
        assert_eq!(runs_and_hits(&cache), (1, 1));
        assert_eq!(cache.remove(temperature_options("Oslo")).expect("memory forgets it").entries, 1);
    }
}

mod options {
    use super::*;

    #[cached(handle = cache, key(text.len(), 1 + 1), namespace = format!("tenant-{tenant}"), key_prefix = "app")]
    fn by_length(cache: &CacheHandle, text: String, tenant: u8, _unused: &dyn Debug) -> String {
        text
    }

    #[test]
    fn key_replaces_the_arguments_and_options_take_those_that_matter() {
        let cache = memory();
        let call = |text: &str, tenant| by_length(&cache, text.into(), tenant, &());
        assert_eq!([call("abc", 1), call("xyz", 1), call("xyz", 2)], ["abc", "abc", "xyz"]);
        assert_eq!(runs_and_hits(&cache), (2, 1));
        assert_eq!(cache.remove(by_length_options("123".into(), 1)).expect("memory forgets it").entries, 1);
        let by_hand = opts!("by_length", 3, 2).namespace("tenant-2").key_prefix("app");
        assert_eq!(cache.remove(by_hand).expect("memory forgets it").entries, 1);
    }

    #[cached(handle = cache, skip(cache), expire = "1m 30s")]
    fn short(cache: &CacheHandle, n: u8) -> u8 {
        n
    }

    #[cached(handle = cache, skip(cache), expire = 90)]
    fn whole_seconds(cache: &CacheHandle, n: u8) -> u8 {
        n
    }

    #[cached(handle = cache, key(n), expire = ttl)]
    fn as_long_as(cache: &CacheHandle, n: u8, ttl: Duration) -> u8 {
        n
    }

    #[test]
    fn an_entry_lives_as_long_as_expire_says() {
        let clock = ManualClock::new();
        let cache = CacheHouse::builder().clock(clock.clone()).memory().build().expect("the builder is right");
        let ttl = Duration::from_secs(90);
        let call = || (short(&cache, 1), whole_seconds(&cache, 1), as_long_as(&cache, 1, ttl));
        call();
        clock.advance(ttl - Duration::from_millis(1));
        call();
        assert_eq!(runs_and_hits(&cache), (3, 3));
        clock.advance(Duration::from_millis(1));
        call();
        assert_eq!(runs_and_hits(&cache), (6, 3));
    }

    fn by_name(cx: &KeyContext<'_>) -> String {
        cx.scoped(&format!("{}/{}/{:?}", cx.module(), cx.name(), cx.args()))
    }

    #[cached(handle = cache, skip(cache), name = "other.name", module = "m", key_builder = by_name)]
    fn renamed(cache: &CacheHandle, r#type: u8) -> u8 {
        r#type
    }

    #[cached(handle = cache, skip(cache))]
    fn r#match(cache: &CacheHandle) -> u8 {
        1
    }

    #[test]
    fn name_and_module_and_key_builder_make_the_key() {
        let cache = memory();
        renamed(&cache, 1);
        assert_eq!(cache.key(&renamed_options(1)).ok().as_deref(), Some("cachehouse:main:m/other.name/[Number(1)]"));
        assert!(cache.contains(renamed_options(1)));
        assert_eq!(r#match(&cache), match_uncached(&cache));
        assert!(cache.contains(match_options()) && cache.contains(opts!("match")));
    }

    #[cached(handle = state.0, skip(state))]
    async fn moved(state: (CacheHandle, String), mut text: String) -> String {
        text.push_str(&state.1);
        text
    }

    #[test]
    fn arguments_are_moved_into_the_work_and_the_future_can_be_spawned() {
        let cache = memory();
        let runtime = multi_thread(1);
        for _ in 0..2 {
            let call = runtime.spawn(moved((cache.clone(), "b".into()), "a".into()));
            assert_eq!(runtime.block_on(call).expect("it ends"), "ab");
        }
        assert_eq!(runs_and_hits(&cache), (1, 1));
    }

    #[cached(handle = cache, skip(cache, numbers))]
    fn change(cache: &CacheHandle, numbers: &mut Vec<u8>, handle: u8, options: u8) -> usize {
        numbers.push(handle + options);
        numbers.len()
    }

    #[test]
    fn what_is_borrowed_mutably_is_changed_by_work_that_runs() {
        let cache = memory();
        let mut numbers = Vec::new();
        assert_eq!([change(&cache, &mut numbers, 1, 2), change(&cache, &mut numbers, 1, 2)], [1, 1]);
        assert_eq!(numbers, [3]);
    }
}
