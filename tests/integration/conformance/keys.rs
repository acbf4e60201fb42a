//! Which calls share an entry.

use cache_house::{CacheOptions, KeyContext, NamespaceOptions, opts};

use super::{Fixture, Runs, call, over_every_backend};

over_every_backend!(
    name_module_and_arguments_tell_calls_apart,
    the_order_of_keyword_arguments_doesnt_matter,
    a_call_may_name_its_namespace,
    a_call_may_name_its_key_prefix,
    separators_in_a_scope_dont_make_two_scopes_one,
    builds_of_different_versions_dont_read_each_others_values,
    a_calls_version_wins_over_its_namespaces_and_that_over_the_handles,
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

fn builds_of_different_versions_dont_read_each_others_values(fixture: &impl Fixture) {
    let old = fixture.build();
    let new = fixture.build_with(|builder| builder.version(1));
    for n in 0..2 {
        // In turn, as in a rolling deployment: neither overwrites or decodes what the other has stored.
        assert_eq!(old.cached(call("f"), || "Ada".to_owned()), "Ada");
        assert_eq!(new.cached(call("f"), || ("Ada".to_owned(), 36)), ("Ada".to_owned(), 36));
        assert_eq!((old.stats().runs, new.stats().runs, new.stats().decode_failures), (1, 1, 0), "{n}");
    }
    assert_eq!(new.remove(call("f")).expect("the cache is there").entries, 1);
    assert!(old.contains(call("f")) && !new.contains(call("f")));
}

fn a_calls_version_wins_over_its_namespaces_and_that_over_the_handles(fixture: &impl Fixture) {
    let users = NamespaceOptions::default().version(2);
    let cache = fixture.build_with(|builder| builder.version(1).namespace_options("users", users));
    let unset = fixture.build();
    let version = |n| key(&unset, &call("f").version(n));
    assert_eq!(key(&cache, &call("f")), version(1));
    assert_eq!(key(&cache, &call("f").version(3)), version(3));
    assert_eq!(key(&cache, &call("f").version(0)), version(0));
    let in_users = |n| key(&unset, &call("f").namespace("users").version(n));
    assert_eq!(key(&cache, &call("f").namespace("users")), in_users(2));
    assert_eq!(key(&cache, &call("f").namespace("users").version(3)), in_users(3));
    assert_eq!(key(&cache.scoped("users"), &call("f")), in_users(2));
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
