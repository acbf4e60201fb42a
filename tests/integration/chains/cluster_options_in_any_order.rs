use std::time::Duration;

use cache_house::{CacheHouse, Endpoint, Error, Reconnect, Secret, Tls};

#[test]
fn it_compiles_and_runs() -> Result<(), Error> {
    let second = Duration::from_secs(1);
    CacheHouse::builder()
        .namespace("app")
        .cluster("localhost:1")
        .command_timeout(second)
        .node(("localhost", 2))
        .username("app")
        .read_from_replicas(true)
        .fallback_to_memory(true)
        .node("localhost:3".parse::<Endpoint>()?)
        .password(Secret::from("s3cret"))
        .reconnect(Reconnect::default().max_delay(second))
        .pool_size(2)
        .expire(second)
        .build()?;
    CacheHouse::builder().cluster("localhost:1").read_from_replicas(false).node("redis://localhost:2").build()?;
    CacheHouse::builder().autodetect("localhost:1").node("localhost:2").max_in_flight(9).node("localhost:3").build()?;
    CacheHouse::builder().memory_max_entries(9).autodetect(("localhost", 1)).connect_timeout(second).build()?;
    let _ = CacheHouse::builder().cluster("localhost:1").tls(Tls::default()).node("localhost:2");
    Ok(())
}
