use std::time::Duration;

use cache_house::codec::Json;
use cache_house::{CacheHouse, Error, KeyContext, Reconnect, Secret, Tls};

#[test]
fn it_compiles_and_runs() -> Result<(), Error> {
    let second = Duration::from_secs(1);
    CacheHouse::builder().namespace("app").expire(second).memory().codec(Json).memory_max_entries(9).build()?;
    CacheHouse::builder().memory().key_prefix("p").key_builder(|cx: &KeyContext<'_>| cx.scoped(cx.name())).build()?;
    CacheHouse::builder()
        .memory_max_bytes(4096)
        .standalone("localhost:1")
        .database(2)
        .namespace("app")
        .username("app")
        .command_timeout(second)
        .fallback_to_memory(true)
        .password(Secret::from("s3cret"))
        .connect_timeout(second)
        .max_value_bytes(99)
        .pool_size(2)
        .max_in_flight(9)
        .near_cache(second)
        .max_staleness(Duration::ZERO)
        .reconnect(Reconnect::default().max_delay(second))
        .build()?;
    CacheHouse::builder().tag("a").standalone(("localhost", 1)).tag(String::from("b")).build()?;
    CacheHouse::builder().standalone(String::from("redis://localhost:1")).build()?;
    CacheHouse::builder().standalone("localhost:1".parse::<cache_house::Endpoint>()?).build()?;
    let _ = CacheHouse::builder().standalone("localhost:1").tls(Tls::default());
    Ok(())
}
