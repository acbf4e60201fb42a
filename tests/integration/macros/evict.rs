//! The attribute `evict`: what a writer removes, and when.

use std::any::type_name;
use std::fmt::Display;
use std::num::ParseIntError;

use cache_house::{CacheHandle, CacheHouse, CacheOptions, cached, evict, opts};

use super::memory;
use crate::support::{Server, alone, connected, current_thread, logs, multi_thread};

type Api<T> = Result<T, ParseIntError>;

#[cached(handle = cache, skip(cache))]
fn name(cache: &CacheHandle, id: u8, lang: &str) -> String {
    format!("{id} in {lang}")
}

#[cached(handle = cache, skip(cache), namespace = "tenant-{tenant}")]
async fn names(cache: &CacheHandle, tenant: String) -> Vec<String> {
    tokio::task::yield_now().await;
    vec![tenant]
}

/// Stores what the writers below remove, and one value more.
fn fill(cache: &CacheHandle) {
    for id in [7, 8] {
        name(cache, id, "no");
    }
    current_thread().block_on(names(cache, "a".into()));
}

/// Whether the names of 7 and of `a` are cached; that of 8 always is.
fn cached_now(cache: &CacheHandle) -> (bool, bool) {
    assert!(cache.contains(name_options(8, "no")));
    (cache.contains(name_options(7, "no")), cache.contains(names_options("a".into())))
}

#[evict(handle = cache, name(id, "no"))]
fn rename(cache: &CacheHandle, id: u8, mut text: String) -> usize {
    assert!(cache.contains(name_options(id, "no")), "not before the writer has ended");
    text.push('!');
    if text.len() > 100 {
        return 100;
    }
    text.len()
}

#[evict(handle = state.0, name(id, &lang), names(tenant.clone()))]
async fn rename_async(state: (CacheHandle, u8), id: u8, lang: String, tenant: String) {
    let (cache, _) = state;
    assert!(cache.contains(name_options(id, &lang)));
    tokio::task::yield_now().await;
    drop((lang, tenant));
}

#[evict(handle = cache, name(id, "no"))]
#[evict(handle = cache, names("a".to_owned()))]
fn save(cache: &CacheHandle, id: u8, text: &str) -> Api<u8> {
    let n: u8 = text.parse()?;
    Ok(n + id)
}

#[evict(handle = cache, name(id, "no"), names("a".to_owned()))]
async fn save_async(cache: &CacheHandle, id: u8, text: &str) -> Result<u8, ParseIntError> {
    tokio::task::yield_now().await;
    let n: u8 = text.parse()?;
    Ok(n + id)
}

#[test]
fn the_values_go_once_the_writer_has_ended() {
    let cache = memory();
    fill(&cache);
    assert_eq!(rename(&cache, 7, "Ada".into()), 4);
    assert_eq!(cached_now(&cache), (false, true));

    fill(&cache);
    let runtime = multi_thread(1);
    let call = runtime.spawn(rename_async((cache.clone(), 0), 7, "no".into(), "a".into()));
    runtime.block_on(call).expect("it ends");
    assert_eq!(cached_now(&cache), (false, false));
}

#[test]
fn a_writer_that_fails_removes_nothing() {
    let cache = memory();
    for write in [save, |cache: &CacheHandle, id, text: &str| current_thread().block_on(save_async(cache, id, text))] {
        fill(&cache);
        assert!(write(&cache, 7, "x").is_err());
        assert_eq!(cached_now(&cache), (true, true));
        assert_eq!(write(&cache, 7, "3"), Ok(10));
        assert_eq!(cached_now(&cache), (false, false));
    }
}

struct Users {
    cache: CacheHandle,
    names: Vec<String>,
}

trait Rename {
    fn rename(&mut self, id: usize, name: &str) -> &String;
    async fn rename_async<T: Display>(&mut self, id: usize, name: T) -> Api<&String>;
}

impl Users {
    #[cached(handle = self.cache)]
    fn find(&self, id: usize) -> Option<String> {
        self.names.get(id).cloned()
    }

    #[cached(handle = self.cache, key(self.names.len()))]
    fn count(&self) -> usize {
        self.names.len()
    }

    #[evict(handle = self.cache, Self::find_all::<u8>(), self.count())]
    fn push(&mut self, name: impl Display) -> &mut Self {
        self.names.push(name.to_string());
        self
    }

    #[cached(handle = self.cache)]
    fn find_all<T>(&self) -> String {
        self.names.join(type_name::<T>())
    }
}

impl Rename for Users {
    #[evict(handle = self.cache, Self::find(id))]
    fn rename(&mut self, id: usize, name: &str) -> &String {
        self.names[id] = name.to_owned();
        &self.names[id]
    }

    #[evict(handle = self.cache, Users::find(id))]
    async fn rename_async<T: Display>(&mut self, id: usize, name: T) -> Api<&String> {
        let name = name.to_string();
        name.parse::<u8>()?;
        self.names[id] = name;
        Ok(&self.names[id])
    }
}

#[test]
fn methods_evict_too_and_return_what_they_borrow() {
    let mut users = Users { cache: memory(), names: vec!["Ada".into()] };
    let runtime = current_thread();
    assert_eq!((users.find(0).as_deref(), users.find_all::<u8>(), users.count()), (Some("Ada"), "Ada".into(), 1));
    assert_eq!(users.rename(0, "Bob"), "Bob");
    assert_eq!((users.find(0).as_deref(), users.find_all::<u8>(), users.count()), (Some("Bob"), "Ada".into(), 1));
    assert!(runtime.block_on(users.rename_async(0, "Cleo")).is_err());
    assert_eq!(runtime.block_on(users.rename_async(0, "7")).map(String::as_str), Ok("7"));
    assert_eq!(users.find(0).as_deref(), Some("7"));
    let one = CacheOptions::new("count").module(type_name::<Users>()).arg(1);
    assert!(users.cache.contains(Users::find_all_options::<u8>()) && users.cache.contains(one.clone()));
    users.push("Dan").names.clear();
    assert!(!users.cache.contains(Users::find_all_options::<u8>()) && !users.cache.contains(one));
}

mod installed {
    use super::*;

    #[cached]
    pub(super) fn half(n: u64) -> u64 {
        n / 2
    }

    #[cached]
    pub(super) async fn third(n: u64) -> u64 {
        n / 3
    }
}

#[evict(installed::half(n), installed::third(n))]
fn forget(n: u64) {}

#[evict(installed::half(n))]
async fn forget_async(n: u64) -> impl Display + use<> {
    n
}

#[test]
fn without_a_handle_the_installed_one_is_asked_and_writers_just_run_where_there_is_none() {
    alone(
        "macros::evict::without_a_handle_the_installed_one_is_asked_and_writers_just_run_where_there_is_none",
        || {
            let runtime = current_thread();
            forget(6);
            assert_eq!(runtime.block_on(forget_async(6)).to_string(), "6");

            let cache = memory();
            CacheHouse::install(cache.clone());
            let fill = || (installed::half(6), runtime.block_on(installed::third(6)));
            assert_eq!(fill(), (3, 2));
            forget(7);
            assert_eq!(fill(), (3, 2));
            assert_eq!(cache.stats().runs, 2);
            forget(6);
            assert_eq!(fill(), (3, 2));
            assert_eq!(cache.stats().runs, 4);
            runtime.block_on(forget_async(6));
            assert_eq!(fill(), (3, 2));
            assert_eq!(cache.stats().runs, 5);
        },
    );
}

#[test]
fn a_writer_evicts_on_the_server_for_all_processes_and_an_outage_does_not_fail_it() {
    let server = Server::start();
    let (one, other) = (connected(&server), connected(&server));
    fill(&one);
    assert_eq!(cached_now(&other), (true, true));
    assert_eq!(save(&one, 7, "3"), Ok(10));
    assert_eq!(cached_now(&other), (false, false));

    fill(&one);
    assert_eq!(current_thread().block_on(save_async(&other, 7, "3")), Ok(10));
    assert_eq!(cached_now(&one), (false, false));

    server.kill();
    fill(&one);
    assert_eq!(save(&one, 7, "3"), Ok(10));
    assert_eq!(cached_now(&one), (false, false));
}

#[test]
fn a_removal_that_fails_is_logged_and_the_writer_s_value_is_returned() {
    alone("macros::evict::a_removal_that_fails_is_logged_and_the_writer_s_value_is_returned", || {
        logs::capture();
        let cache = memory();
        cache.close();
        assert_eq!(save_alone(&cache, "3"), Ok(3));
        assert_eq!(current_thread().block_on(save_async(&cache, 7, "3")), Ok(10));
        let warnings = logs::containing("the value isn't evicted");
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].text.contains("macros::evict::save_alone"), "{warnings:?}");
        assert!(warnings[0].text.contains("closed") && warnings[2].text.contains("names"), "{warnings:?}");
    });
}

#[evict(handle = cache, name(7, "no"))]
fn save_alone(cache: &CacheHandle, text: &str) -> Api<u8> {
    text.parse()
}

#[test]
fn what_a_writer_removes_is_named_by_the_options_of_the_call() {
    let cache = memory();
    cache.insert(opts!("name", 7, "no"), &"by hand".to_owned()).expect("memory stores it");
    assert_eq!(save_alone(&cache, "3"), Ok(3));
    assert!(!cache.contains(opts!("name", 7, "no")));
}
