use std::collections::HashMap;
use std::path::Path;

use cache_house::cached;

#[cached]
fn of_an_argument(text: &str) -> &str {
    text
}

#[cached]
fn of_the_program(n: usize) -> &'static str {
    ["Ada", "Bob"][n % 2]
}

#[cached]
async fn inside_of_ok(n: usize) -> Result<Option<&'static [u8]>, &'static str> {
    b"Ada".get(n..).map(Some).ok_or("too large")
}

#[cached]
fn among_others(n: u8) -> HashMap<u8, (u8, &'static Path)> {
    HashMap::from([(n, (n, Path::new("/")))])
}

fn main() {}
