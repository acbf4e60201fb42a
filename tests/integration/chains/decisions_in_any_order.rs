#![deny(warnings)]

use std::convert::Infallible;
use std::time::Duration;

use cache_house::codec::{Json, ValueCodec};
use cache_house::{CacheHandle, CacheHouse, CacheOptions, Error, opts};

#[derive(Clone, PartialEq, Debug)]
struct Celsius(f64);

fn temperature() -> CacheOptions<impl ValueCodec<Celsius> + Clone> {
    opts!("temperature")
        .encoder(|v: &Celsius| Ok::<_, Infallible>(v.0.to_be_bytes().to_vec()))
        .decoder(|b: &[u8]| b.try_into().map(f64::from_be_bytes).map(Celsius))
        .store_if(|v: &Celsius| v.0.is_finite())
        .namespace("weather")
        .expire_by(|_: &Celsius| Duration::from_secs(60))
        .jitter(Duration::from_secs(1))
}

#[expect(clippy::ptr_arg, reason = "the value's type is `String`")]
fn len(text: &String) -> Duration {
    Duration::from_secs(text.len() as u64)
}

fn motd(cache: &CacheHandle, least: usize) -> String {
    let options = opts!("motd").expire_by(len).codec(Json).store_if(|text: &String| text.len() > least).arg(least);
    cache.cached(options, || "Hei".to_owned())
}

#[test]
fn it_compiles_and_runs() -> Result<(), Error> {
    let cache = CacheHouse::builder().memory().build()?;
    let options = temperature();
    assert_eq!(cache.cached(options.clone(), || Celsius(-3.5)), Celsius(-3.5));
    assert_eq!(cache.get(options), Some(Celsius(-3.5)));
    assert_eq!(motd(&cache, 2), "Hei");
    // What the value is follows from the work.
    assert_eq!(cache.cached(opts!("n").store_if(|_: &_| true).expire_by(|_: &_| Duration::from_secs(1)), || 7_u8), 7);
    Ok(())
}
