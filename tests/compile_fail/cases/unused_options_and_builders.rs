#![deny(unused_must_use)]

use cache_house::{CacheHouse, opts};

fn main() {
    opts!("user", 7);
    CacheHouse::builder();
    CacheHouse::builder().memory();
}
