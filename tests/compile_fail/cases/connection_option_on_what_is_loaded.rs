//! What is loaded knows its topology at run time only: connection options come from the file.

fn main() -> Result<(), cache_house::Error> {
    cache_house::CacheHouse::load().pool_size(2).build()?;
    Ok(())
}
