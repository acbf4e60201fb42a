//! The attribute's options of freshness, its functions of the value, and functions without siblings.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::num::ParseIntError;

use super::*;
use crate::support::current_thread;

mod options {
    use super::*;

    fn window() -> Duration {
        Duration::from_secs(3)
    }

    #[cached(
        jitter = 1,
        stale_while_revalidate = "2s",
        stale_if_error = window(),
        retry_after = "40ms",
        refresh_early = 1,
        soft_timeout = "6s",
        hard_timeout = Duration::from_secs(u64::from(n)),
        max_staleness = 0,
    )]
    fn all(n: u8) -> u8 {
        n
    }

    #[cached(refresh_early = f64::from(n) / 2.0)]
    fn early(n: u8) -> u8 {
        n
    }

    #[test]
    fn each_option_arrives() {
        let set = opts!("all", 7_u8)
            .jitter(Duration::from_secs(1))
            .stale_while_revalidate(Duration::from_secs(2))
            .stale_if_error(window())
            .retry_after(Duration::from_millis(40))
            .refresh_early(1.0)
            .soft_timeout(Duration::from_secs(6))
            .hard_timeout(Duration::from_secs(7))
            .max_staleness(Duration::ZERO);
        assert_eq!(format!("{:?}", all_options(7)), format!("{set:?}"));
        let set = opts!("early", 3_u8).refresh_early(1.5);
        assert_eq!(format!("{:?}", early_options(3)), format!("{set:?}"));
        assert_eq!((all(7), early(3)), (7, 3));
    }
}

mod decisions {
    use super::*;

    #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Token {
        text: String,
        seconds: u64,
    }

    impl Token {
        fn ttl(&self) -> Duration {
            Duration::from_secs(self.seconds)
        }

        #[cached(handle = cache, skip(cache), store_if = |made| made.seconds > limit)]
        fn made(cache: &CacheHandle, text: &str, limit: u64) -> Self {
            Self { text: text.to_owned(), seconds: limit + 1 }
        }
    }

    /// The type of a closure's argument is known from the function.
    #[cached(handle = cache, skip(cache), expire_by = |token| Duration::from_secs(token.seconds), store_if = |token| !token.text.is_empty())]
    fn token(cache: &CacheHandle, text: &str) -> Token {
        Token { text: text.to_owned(), seconds: 60 }
    }

    #[cached(handle = cache, skip(cache), expire_by = Token::ttl)]
    async fn token_async(cache: &CacheHandle, text: &str) -> io::Result<Token> {
        tokio::task::yield_now().await;
        Ok(Token { text: text.to_owned(), seconds: 60 })
    }

    type Found<T> = Result<Option<T>, String>;

    #[cached(handle = cache, skip(cache), store_if = Option::is_some, result = true)]
    fn found(cache: &CacheHandle, n: u8) -> Found<String> {
        if n > 9 { Err("too large".into()) } else { Ok((n > 4).then(|| n.to_string())) }
    }

    #[cached(handle = cache, skip(cache), store_if = |found: &Result<u8, ParseIntError>| found.is_ok(), result = false, encoder = encode, decoder = decode)]
    fn whole(cache: &CacheHandle, text: &str) -> Result<u8, ParseIntError> {
        text.parse()
    }

    fn encode(whole: &Result<u8, ParseIntError>) -> Result<Vec<u8>, Infallible> {
        Ok(whole.iter().copied().collect())
    }

    fn decode(bytes: &[u8]) -> Result<Result<u8, ParseIntError>, io::Error> {
        bytes.first().map(|byte| Ok(*byte)).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    #[cached(handle = cache, skip(cache), store_if = |_| true, expire_by = |unit: &()| Duration::from_secs(size_of_val(unit) as u64 + 1))]
    fn nothing(cache: &CacheHandle) {}

    #[cached(handle = cache, skip(cache), store_if = |all: &Vec<T>| all.len() < N)]
    fn several<T, const N: usize>(cache: &CacheHandle, one: T) -> Vec<T>
    where
        T: Debug + Copy + Send + Sync + Serialize + serde::de::DeserializeOwned + 'static,
    {
        vec![one; N - 1]
    }

    #[test]
    fn functions_of_the_value_take_what_is_stored() {
        let cache = memory();
        assert_eq!(token(&cache, "a").text, "a");
        assert_eq!(Token::made(&cache, "b", 7).seconds, 8);
        assert_eq!(current_thread().block_on(token_async(&cache, "c")).expect("it's made").text, "c");
        assert_eq!((found(&cache, 5), found(&cache, 1)), (Ok(Some("5".into())), Ok(None)));
        assert_eq!(found(&cache, 10), Err("too large".into()));
        assert_eq!((whole(&cache, "7"), whole(&cache, "x").is_err()), (Ok(7), true));
        nothing(&cache);
        assert_eq!(several::<u8, 3>(&cache, 1), [1, 1]);
    }

    #[test]
    fn the_options_sibling_comes_without_them() {
        let _: [CacheOptions; 3] = [token_options("a"), found_options(1), Token::made_options("a", 1)];
    }
}

mod without_siblings {
    use super::*;

    trait Numbers {
        fn parse(&self, text: &str) -> Result<u8, ParseIntError>;
        fn sum(&self, numbers: Vec<u64>) -> u64;
        fn double(&self, text: &str) -> impl Future<Output = Result<u16, ParseIntError>> + Send;
        fn into_name(self, suffix: String) -> String;
        fn count(&mut self, n: u8) -> u8;
    }

    #[derive(Clone)]
    struct Cached {
        cache: CacheHandle,
        name: String,
        counted: u8,
    }

    impl Numbers for Cached {
        #[cached(siblings = false, handle = self.cache)]
        fn parse(&self, text: &str) -> Result<u8, ParseIntError> {
            if text == "seven" {
                return Ok(7);
            }
            let number = text.parse::<u8>()?;
            Ok(number)
        }

        #[cached(siblings = false, handle = self.cache, expire = "5m", store_if = |sum| *sum > 0)]
        fn sum(&self, mut numbers: Vec<u64>) -> u64 {
            numbers.push(1);
            numbers.into_iter().sum()
        }

        #[cached(siblings = false, handle = self.cache)]
        async fn double(&self, text: &str) -> Result<u16, ParseIntError> {
            if text.is_empty() {
                return Ok(0);
            }
            tokio::task::yield_now().await;
            Ok(text.parse::<u16>()? * 2)
        }

        #[cached(siblings = false, handle = self.cache)]
        fn into_name(self, mut suffix: String) -> String {
            suffix.insert_str(0, &self.name);
            suffix
        }

        #[cached(siblings = false, handle = self.cache)]
        fn count(&mut self, n: u8) -> u8 {
            self.counted += n;
            self.counted
        }
    }

    #[cached(siblings = false, handle = cache, skip(cache))]
    fn fibonacci<const STEP: u64>(cache: &CacheHandle, n: u64) -> u64 {
        if n < 2 { n } else { fibonacci::<STEP>(cache, n - STEP) + fibonacci::<STEP>(cache, n - 2 * STEP) }
    }

    #[test]
    fn functions_of_a_trait_are_cached() {
        let numbers = Cached { cache: memory(), name: "a".into(), counted: 0 };
        for (text, number) in [("7", Ok(7)), ("seven", Ok(7)), ("x", "x".parse::<u8>())] {
            assert_eq!((numbers.parse(text), numbers.parse(text)), (number.clone(), number), "{text}");
        }
        assert_eq!(runs_and_hits(&numbers.cache), (4, 2), "what failed isn't stored");
        assert_eq!((numbers.sum(vec![1, 2]), numbers.sum(vec![1, 2]), numbers.sum(vec![])), (4, 4, 1));
        assert_eq!(numbers.clone().into_name("b".into()), "ab");
        assert_eq!(numbers.clone().into_name("b".into()), "ab");
        let mut counting = numbers.clone();
        assert_eq!((counting.count(2), counting.count(2), counting.counted), (2, 2, 2));
        assert_eq!(runs_and_hits(&numbers.cache), (8, 5));
        current_thread().block_on(async {
            assert_eq!(numbers.double("21").await, Ok(42));
            assert_eq!(numbers.double("21").await, Ok(42));
            assert_eq!(numbers.double("").await, Ok(0));
            assert!(numbers.double("x").await.is_err());
        });
        assert_eq!(runs_and_hits(&numbers.cache), (11, 6));
    }

    #[test]
    fn their_entries_are_named_by_hand() {
        let numbers = Cached { cache: memory(), name: "a".into(), counted: 0 };
        assert_eq!(numbers.parse("7"), Ok(7));
        let options = CacheOptions::new("parse").module(type_name::<Cached>()).arg("7");
        assert_eq!(numbers.cache.remove(options).expect("memory forgets it").entries, 1);
    }

    trait Lookup {
        fn look_up(cache: &CacheHandle, id: u8) -> String;
    }

    struct Orders;

    impl Lookup for Cached {
        #[cached(siblings = false, associated = true, handle = cache, skip(cache))]
        fn look_up(cache: &CacheHandle, id: u8) -> String {
            format!("user {id}")
        }
    }

    impl Lookup for Orders {
        #[cached(siblings = false, associated = true, handle = cache, skip(cache))]
        fn look_up(cache: &CacheHandle, id: u8) -> String {
            format!("order {id}")
        }
    }

    #[test]
    fn types_do_not_share_where_the_function_is_said_to_be_a_types() {
        let cache = memory();
        for _ in 0..2 {
            assert_eq!([Cached::look_up(&cache, 7), Orders::look_up(&cache, 7)], ["user 7", "order 7"]);
        }
        assert_eq!(runs_and_hits(&cache), (2, 2));
    }

    trait Load<T> {
        fn load(&self, id: u8) -> String;
        fn load_by_name(&self, id: u8) -> String;
    }

    impl Load<u8> for Cached {
        #[cached(siblings = false, handle = self.cache)]
        fn load(&self, id: u8) -> String {
            format!("small {id}")
        }

        #[cached(siblings = false, handle = self.cache, name = "load_small")]
        fn load_by_name(&self, id: u8) -> String {
            format!("small {id}")
        }
    }

    impl Load<u64> for Cached {
        #[cached(siblings = false, handle = self.cache)]
        fn load(&self, id: u8) -> String {
            format!("large {id}")
        }

        #[cached(siblings = false, handle = self.cache, name = "load_large")]
        fn load_by_name(&self, id: u8) -> String {
            format!("large {id}")
        }
    }

    #[test]
    fn methods_of_one_name_for_one_type_share_unless_each_has_a_name() {
        let one = Cached { cache: memory(), name: "a".into(), counted: 0 };
        let both = [Load::<u8>::load(&one, 7), Load::<u64>::load(&one, 7)];
        assert_eq!(both, ["small 7", "small 7"], "as docs/attribute.md warns");
        let both = [Load::<u8>::load_by_name(&one, 7), Load::<u64>::load_by_name(&one, 7)];
        assert_eq!(both, ["small 7", "large 7"]);
    }

    #[test]
    fn one_of_them_may_call_itself() {
        let cache = memory();
        assert_eq!(fibonacci::<1>(&cache, 20), 6765);
        assert_eq!(runs_and_hits(&cache).0, 21);
    }

    #[cached(siblings = false)]
    fn half(text: String) -> Option<u32> {
        let number: u32 = text.parse().ok()?;
        Some(number / 2)
    }

    #[cached(siblings = false)]
    async fn half_async(text: String) -> Option<u32> {
        Some(std::future::ready(text).await.parse::<u32>().ok()? / 2)
    }

    #[test]
    fn without_a_handle_they_just_run() {
        // Another test may have installed one, which changes no value.
        assert_eq!((half("8".into()), half("x".into())), (Some(4), None));
        assert_eq!(current_thread().block_on(half_async("8".into())), Some(4));
    }
}
