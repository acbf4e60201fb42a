//! A namespace that takes up arguments: the same in the function and in its siblings.

use super::*;

/// The namespace of a call, as it stands in the key.
fn namespace(options: &CacheOptions) -> String {
    let key = memory().key(options).expect("the call has a key");
    key.split(':').nth(1).expect("it has a namespace").to_owned()
}

#[cached(handle = cache, skip(cache), namespace = "tenant-{tenant}", expire = "5m")]
fn price(cache: &CacheHandle, tenant: u32, article: &str) -> usize {
    article.len()
}

#[test]
fn a_call_is_in_the_namespace_of_its_argument() {
    let cache = memory();
    assert_eq!([price(&cache, 5, "apple"), price(&cache, 5, "apple"), price(&cache, 6, "apple")], [5; 3]);
    assert_eq!(runs_and_hits(&cache), (2, 1));
    assert_eq!(namespace(&price_options(5, "apple")), "tenant-5");
    price_refresh(&cache, 5, "pear");
    assert_eq!(cache.clear_namespace("tenant-5").expect("memory clears").entries, 2);
    assert!(cache.contains(price_options(6, "apple")) && !cache.contains(price_options(5, "apple")));
    let by_hand = opts!("price", 6, "apple").namespace("tenant-6");
    assert_eq!(cache.remove(by_hand).expect("memory forgets it").entries, 1);
}

/// What isn't part of the key may be part of the namespace, and what the work moves too.
#[cached(handle = cache, key(id), namespace = "{region}/{id}")]
async fn moved(cache: CacheHandle, region: String, id: Box<u64>) -> String {
    tokio::task::yield_now().await;
    drop(cache);
    region + &id.to_string()
}

#[cached(handle = cache, key(), namespace = "{counted}")]
fn changed(cache: &CacheHandle, counted: &mut u8) -> u8 {
    *counted += 1;
    *counted
}

#[test]
fn arguments_are_shown_before_the_work_takes_them() {
    let cache = memory();
    let runtime = current_thread();
    for hits in [0, 1] {
        assert_eq!(runtime.block_on(moved(cache.clone(), "eu".into(), Box::new(7))), "eu7");
        assert_eq!(runs_and_hits(&cache), (1, hits));
    }
    assert_eq!(namespace(&moved_options("eu".into(), Box::new(7))), "eu/7");
    let mut counted = 1;
    assert_eq!((changed(&cache, &mut counted), changed(&cache, &mut counted)), (2, 3));
    assert_eq!(cache.get::<u8>(changed_options(&mut 1)), Some(2));
}

#[test]
fn braces_in_pairs_are_braces_and_expressions_stay_as_they_are() {
    #[cached(namespace = "{{n}}-{n}")]
    fn pairs(n: u8) -> u8 {
        n
    }
    #[cached(namespace = "{{n}}", key(1))]
    fn only_pairs(n: u8) -> u8 {
        n
    }
    const NAME: &str = "{n}";
    #[cached(namespace = NAME)]
    fn named(n: u8) -> u8 {
        n
    }
    #[cached(namespace = concat!("{", "n}"))]
    fn expression(n: u8) -> u8 {
        n
    }
    #[cached(namespace = format!("{n}-{}", n + 1))]
    fn more(n: u8) -> u8 {
        n
    }
    assert_eq!(namespace(&pairs_options(7)), "%7Bn%7D-7");
    assert_eq!(namespace(&only_pairs_options()), "%7Bn%7D");
    assert_eq!(namespace(&named_options(7)), "%7Bn%7D");
    assert_eq!(namespace(&expression_options(7)), "%7Bn%7D");
    assert_eq!(namespace(&more_options(7)), "7-8");
    assert_eq!((pairs(1), only_pairs(1), named(1), expression(1), more(1)), (1, 1, 1, 1, 1));
}

#[test]
fn names_of_all_kinds_are_arguments() {
    #[cached(namespace = "{type}-{_other }-{_other}-{größe}", skip(größe))]
    fn all(r#type: &str, _other: char, größe: f32) -> u8 {
        1
    }
    #[cached(namespace = "{one}-{two}", skip(one))]
    fn generic<T: Display + Serialize, const N: usize>(one: T, two: &T) -> usize {
        N
    }
    assert_eq!(namespace(&all_options("a", 'b', 1.5)), "a-b-b-1.5");
    assert_eq!(namespace(&generic_options::<_, 3>(1, &2)), "1-2");
    assert_eq!((all("a", 'b', 1.5), generic::<u8, 3>(1, &2)), (1, 3));
}

/// The text and the argument's name come from different places.
macro_rules! function_in_namespace {
    ($name:ident, $argument:ident, $namespace:literal, $more:expr) => {
        #[cached(namespace = $namespace)]
        fn $name($argument: u8) -> u8 {
            $argument
        }

        mod own {
            use super::*;

            #[cached(namespace = "own-{x}")]
            pub(super) fn $name(x: u8) -> u8 {
                x
            }

            #[cached(namespace = $more)]
            pub(super) fn more($argument: u8) -> u8 {
                $argument
            }
        }
    };
}

function_in_namespace!(written_by_a_macro, n, "given-{n}", "more-{n}");

#[test]
fn a_macro_may_write_the_function_and_hand_the_text_on() {
    assert_eq!(namespace(&written_by_a_macro_options(7)), "given-7");
    assert_eq!(namespace(&own::written_by_a_macro_options(7)), "own-7");
    assert_eq!(namespace(&own::more_options(7)), "more-7");
    assert_eq!((written_by_a_macro(7), own::written_by_a_macro(7), own::more(7)), (7, 7, 7));
}

#[derive(Clone)]
struct Shop {
    cache: CacheHandle,
    id: u8,
}

impl Display for Shop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "shop-{}", self.id)
    }
}

trait Sells {
    fn sold(&self, day: u8) -> u8;
    fn into_id(self, day: u8) -> u8;
}

impl Sells for Shop {
    #[cached(siblings = false, handle = self.cache, namespace = "sold-{day}")]
    fn sold(&self, day: u8) -> u8 {
        day
    }

    #[cached(siblings = false, handle = self.cache, namespace = "{self}")]
    fn into_id(self, day: u8) -> u8 {
        self.id + day
    }
}

impl Shop {
    #[cached(handle = self.cache, namespace = "{self}/{day}", result = true)]
    async fn stock(&mut self, day: String) -> Result<u8, ParseIntError> {
        self.id += 1;
        day.parse::<u8>().map(|day| day + self.id)
    }
}

#[test]
fn methods_may_take_up_what_they_are_called_on() {
    let mut shop = Shop { cache: memory(), id: 3 };
    assert_eq!(namespace(&shop.stock_options("7".into())), "shop-3/7");
    assert_eq!(current_thread().block_on(shop.stock("7".into())), Ok(11));
    assert_eq!((shop.sold(1), shop.sold(1), shop.clone().into_id(1), shop.clone().into_id(1)), (1, 1, 5, 5));
    assert_eq!(runs_and_hits(&shop.cache), (3, 2));
    for (name, entries) in [("sold-1", 1), ("shop-4", 1), ("shop-3/7", 1)] {
        assert_eq!(shop.cache.clear_namespace(name).expect("memory clears").entries, entries, "{name}");
    }
}
