//! Which calls share an entry.

use cache_house::{CacheOptions, KeyContext, opts};

use super::{Fixture, Runs, call, over_every_backend};

over_every_backend!(
    name_module_and_arguments_tell_calls_apart,
    the_order_of_keyword_arguments_doesnt_matter,
    a_call_may_name_its_namespace,
    a_call_may_name_its_key_prefix,
    separators_in_a_scope_dont_make_two_scopes_one,
    a_handle_may_have_a_key_builder,
    a_call_may_bring_a_key_builder,
    calls_with_the_same_custom_key_share_an_entry,
    a_key_builder_that_returns_nothing_runs_uncached,
    a_scoped_handle_shares_all_but_the_namespace,
    an_empty_namespace_runs_uncached,
);

fn key(cache: &cache_house::CacheHandle, options: &CacheOptions) -> String {
    cache.key(options).expect("it has a key")
}

fn name_module_and_arguments_tell_calls_apart(fixture: &impl Fixture) {
    let cache = fixture.build();
    let calls = [
        call("a"),
        call("b"),
        call("a").module("m"),
        call("a").arg(1),
        call("a").arg("1"),
        call("a").arg(1).arg(2),
        call("a").arg((1, 2)),
        call("a").kwarg("n", 1),
        call("a").kwarg("m", 1),
        call("a,1"),
        opts!("a"),
        opts!("a", 1, n = 2),
    ];
    for (n, options) in calls.iter().enumerate() {
        assert_eq!(cache.cached(options.clone(), || n), n);
    }
    for (n, options) in calls.iter().enumerate() {
        assert_eq!(cache.cached(options.clone(), || usize::MAX), n);
    }
}

fn the_order_of_keyword_arguments_doesnt_matter(fixture: &impl Fixture) {
    let cache = fixture.build();
    cache.cached(opts!("f", a = 1, b = 2), || 1);
    assert_eq!(cache.cached(opts!("f", b = 2, a = 1), || 2), 1);
}

fn a_call_may_name_its_namespace(fixture: &impl Fixture) {
    let cache = fixture.build_with(|builder| builder.namespace("app"));
    let runs = Runs::default();
    cache.cached(call("f"), runs.gives(1));
    assert_eq!(cache.cached(call("f").namespace("users"), runs.gives(2)), 2);
    assert_eq!(cache.cached(call("f").namespace("app"), runs.gives(3)), 1);
    assert!(key(&cache, &call("f")).starts_with("cachehouse:app:"));
    assert!(key(&cache, &call("f").namespace("users")).starts_with("cachehouse:users:"));
}

fn a_call_may_name_its_key_prefix(fixture: &impl Fixture) {
    let cache = fixture.build_with(|builder| builder.key_prefix("shop"));
    cache.cached(call("f"), || 1);
    assert_eq!(cache.cached(call("f").key_prefix("billing"), || 2), 2);
    assert_eq!(cache.cached(call("f").key_prefix("shop"), || 3), 1);
    assert!(key(&cache, &call("f")).starts_with("shop:main:"));
    assert!(key(&cache, &call("f").key_prefix("billing")).starts_with("billing:main:"));
}

fn separators_in_a_scope_dont_make_two_scopes_one(fixture: &impl Fixture) {
    let cache = fixture.build();
    let scopes = [("a:b", "c"), ("a", "b:c"), ("a%3Ab", "c"), ("a", "b"), ("å", "\n"), ("å", " ")];
    for (n, (prefix, namespace)) in scopes.into_iter().enumerate() {
        let options = || call("f").key_prefix(prefix).namespace(namespace);
        assert_eq!(cache.cached(options(), || n), n, "{prefix:?} {namespace:?}");
        assert_eq!(key(&cache, &options()).matches(':').count(), 2, "{prefix:?} {namespace:?}");
    }
}

fn a_handle_may_have_a_key_builder(fixture: &impl Fixture) {
    let cache = fixture.build_with(|builder| {
        builder.namespace("app").key_builder(|cx: &KeyContext<'_>| {
            let parts = (cx.module(), cx.name(), cx.args(), cx.kwargs(), cx.prefix(), cx.namespace());
            cx.scoped(&serde_json::to_string(&parts).expect("it's all text"))
        })
    });
    let options = || CacheOptions::new("user").module("m").arg(7).arg("x").kwarg("lang", "no");
    let expected = r#"cachehouse:app:["m","user",[7,"x"],{"lang":"no"},"cachehouse","app"]"#;
    assert_eq!(key(&cache, &options()), expected);
    cache.cached(options(), || 1);
    fixture.assert_stored(expected, b"1");
    assert_eq!(cache.cached(options(), || 2), 1);
    assert_eq!(cache.cached(options().arg(0), || 3), 3);
}

fn a_call_may_bring_a_key_builder(fixture: &impl Fixture) {
    let cache = fixture.build_with(|builder| builder.key_builder(|_: &KeyContext<'_>| "handle".into()));
    let options = || call("f").key_builder(|cx: &KeyContext<'_>| format!("mine/{}", cx.name()));
    assert_eq!(key(&cache, &options()), "mine/f");
    cache.cached(options(), || 1);
    fixture.assert_stored("mine/f", b"1");
    assert_eq!(cache.cached(call("f"), || 2), 2);
    assert_eq!(cache.cached(options(), || 3), 1);
}

fn calls_with_the_same_custom_key_share_an_entry(fixture: &impl Fixture) {
    let cache = fixture.build();
    let shared = |name: &str| call(name).key_builder(|cx: &KeyContext<'_>| cx.scoped("shared"));
    cache.cached(shared("one"), || 1);
    assert_eq!(cache.cached(shared("two"), || 2), 1);
    assert_eq!(cache.remove(shared("three")).expect("the cache is there").entries, 1);
    assert_eq!(cache.cached(shared("two"), || 2), 2);
}

fn a_key_builder_that_returns_nothing_runs_uncached(fixture: &impl Fixture) {
    let cache = fixture.build_with(|builder| builder.key_builder(|_: &KeyContext<'_>| String::new()));
    for n in 0..2 {
        assert_eq!(cache.cached(call("f"), || n), n);
    }
    assert_eq!(cache.stats().uncached, 2);
}

fn a_scoped_handle_shares_all_but_the_namespace(fixture: &impl Fixture) {
    let cache = fixture.build_with(|builder| builder.key_prefix("shop"));
    let (one, two) = (cache.scoped("tenant:1"), cache.scoped("tenant:2"));
    assert_eq!(one.cached(call("plan"), || "free".to_owned()), "free");
    assert_eq!(two.cached(call("plan"), || "paid".to_owned()), "paid");
    assert_eq!(cache.get::<String>(call("plan")), None);
    assert_eq!(cache.get::<String>(call("plan").namespace("tenant:1")), Some("free".into()));
    assert!(key(&one, &call("plan")).starts_with("shop:tenant%3A1:"));
    assert_eq!(one.stats(), cache.stats());
    assert_eq!(cache.clear_namespace("tenant:1").expect("the cache is there").entries, 1);
    assert_eq!(one.get::<String>(call("plan")), None);
    assert_eq!(two.get::<String>(call("plan")), Some("paid".into()));
}

fn an_empty_namespace_runs_uncached(fixture: &impl Fixture) {
    let cache = fixture.build();
    let nowhere = cache.scoped("");
    for n in 0..2 {
        assert_eq!(nowhere.cached(call("f"), || n), n);
        assert_eq!(cache.cached(call("f").namespace(""), || n), n);
        assert_eq!(cache.cached(call("f").key_prefix(""), || n), n);
    }
    assert!(nowhere.insert(call("f"), &1).expect_err("it has no key").is_key());
    // A call that names one is none the worse.
    nowhere.cached(call("f").namespace("here"), || 1);
    assert_eq!(cache.cached(call("f").namespace("here"), || 2), 1);
}
