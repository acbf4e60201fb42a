use cache_house::{CacheHandle, opts};

fn motd(cache: &CacheHandle) -> Result<String, std::io::Error> {
    cache.cached(opts!("motd"), || std::fs::read_to_string("motd"))
}

fn main() {
    let _ = motd;
}
