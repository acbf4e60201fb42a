use cache_house::codec::ValueCodec;
use cache_house::{CacheHandle, CacheHouse, CacheOptions, opts};

#[derive(Clone, Debug, PartialEq)]
struct Celsius(u8);

/// Takes any options for a type, with serde or with a pair of functions.
fn cached_here<T: Clone + Send + Sync + 'static>(
    cache: &CacheHandle,
    options: CacheOptions<impl ValueCodec<T>>,
    value: T,
) -> T {
    cache.cached(options.namespace("here"), || value)
}

#[test]
fn it_compiles_and_runs() {
    let cache = CacheHouse::builder().memory().build().expect("the defaults are valid");
    assert_eq!(cached_here(&cache, opts!("one", 1, two = 2), 1_u64), 1);
    let pair = opts!("warm")
        .encoder(|v: &Celsius| Ok::<_, std::convert::Infallible>(vec![v.0]))
        .decoder(|b: &[u8]| b.first().copied().map(Celsius).ok_or("no byte"));
    assert_eq!(cached_here(&cache, pair, Celsius(20)), Celsius(20));
}
