//! The crate beside what else one would cache with: one run, one table. `README.md` says what each row means.

mod origin;
mod peer;
mod peers;
mod scenarios;
mod server;
mod table;
mod user;

use std::time::Instant;

use table::Table;

fn main() {
    let start = Instant::now();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let table = runtime.block_on(async {
        let mut table = Table::default();
        scenarios::redis_hits::measure(&mut table).await;
        scenarios::memory_hits::measure(&mut table).await;
        scenarios::stampede::measure(&mut table).await;
        scenarios::frozen::measure(&mut table).await;
        scenarios::absent::measure(&mut table).await;
        table
    });
    println!("{table}\ntaken in {} s", start.elapsed().as_secs());
}
