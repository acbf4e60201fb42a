use std::time::Duration;

use cache_house::cached;

#[cached(soft_timeout = "2s", hard_timeout = 2)]
fn soft_not_below_hard(n: u64) -> u64 {
    n
}

#[cached(stale_if_error = "1h", retry_after = 0)]
fn no_pause(n: u64) -> u64 {
    n
}

#[cached(stale_if_error = "one hour")]
fn no_duration(n: u64) -> u64 {
    n
}

#[cached(refresh_early = -1.0)]
fn negative(n: u64) -> u64 {
    n
}

#[cached(refresh_early = "1.0")]
fn text(n: u64) -> u64 {
    n
}

#[cached(refresh_early = Duration::from_secs(1))]
fn no_number(n: u64) -> u64 {
    n
}

#[cached(expire_by = |text: &String| Duration::from_secs(text.len() as u64))]
fn life_of_another_type(n: u64) -> u64 {
    n
}

#[cached(store_if = |n| n.to_string())]
fn neither_yes_nor_no(n: u64) -> u64 {
    n
}

#[cached(store_if = |parsed: &Result<u8, String>| parsed.is_ok())]
fn condition_of_the_whole_result(text: &str) -> Result<u8, String> {
    text.parse().map_err(|_| "no number".into())
}

#[cached(result = true, store_if = |n| *n > 0)]
fn no_result(n: u64) -> u64 {
    n
}

#[cached(siblings = 2)]
fn siblings_in_numbers(n: u64) -> u64 {
    n
}

fn main() {}
