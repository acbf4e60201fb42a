use cache_house::{CacheHandle, CacheHouse, CacheHouseBuilder, Error};

fn shared<T: Clone + Send + Sync + 'static>() {}

fn sent<T: Send + 'static>() {}

/// A handle is one type, whatever the topology.
fn either(server: bool) -> Result<CacheHandle, Error> {
    let builder = CacheHouse::builder();
    if server { builder.standalone("localhost:1").build() } else { builder.memory().build() }
}

#[test]
fn it_compiles_and_runs() -> Result<(), Error> {
    shared::<CacheHandle>();
    sent::<CacheHouseBuilder>();
    sent::<Error>();
    let (one, two) = (either(true)?, either(false)?);
    drop(vec![one.clone(), two.scoped("tenant")]);
    Ok(())
}
