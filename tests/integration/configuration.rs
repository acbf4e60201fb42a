//! Configuration from outside: what a process loads, options by namespace, passwords that change.

use std::fs;
use std::time::Duration;

use cache_house::codec::{Codec, CodecError, erased_serde};
use cache_house::figment::{Figment, providers::Serialized};
use cache_house::{CacheHouse, CacheOptions, Health, NamespaceOptions, ReasonKind, Topology};
use tempfile::TempDir;

use crate::support::cluster::Cluster;
use crate::support::{self, Server, alone_in, standalone, until_connected, until_degraded, wait_until};

fn call(name: &str) -> CacheOptions {
    CacheOptions::new(name)
}

#[test]
fn a_process_loads_its_file_and_its_environment() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let file = "namespace = \"file\"\nexpire = \"1m\"\n[production]\nexpire = \"2m\"\n[memory]\n";
    fs::write(folder.path().join("cachehouse.toml"), file).expect("it can be written");
    fs::write(folder.path().join("other.toml"), "memory = {}\nnamespace = \"other\"").expect("it can be written");
    let variables = [("CACHEHOUSE_KEY_PREFIX", "variable"), ("CACHEHOUSE_PROFILE", "production")];
    let name = "configuration::a_process_loads_its_file_and_its_environment";
    alone_in(name, folder.path(), &variables, || {
        let cache = CacheHouse::load().build().expect("it's right");
        assert!(matches!(cache.health(), Health::Memory));
        assert!(cache.key(&call("f")).expect("it has a key").starts_with("variable:file:"));
        assert!(format!("{cache:?}").contains("expire: 120s"), "{cache:?}");
        // Code wins, and a figment that extends the layers does so too.
        let cache = CacheHouse::load().namespace("code").build().expect("it's right");
        assert!(cache.key(&call("f")).expect("it has a key").starts_with("variable:code:"));
        let figment = cache_house::Config::figment().merge(Serialized::default("namespace", "figment"));
        let cache = CacheHouse::from_provider(figment).build().expect("it's right");
        assert!(cache.key(&call("f")).expect("it has a key").starts_with("variable:figment:"));
        let error = CacheHouse::from_file("other.toml").build().expect_err("it hasn't the profile");
        assert!(error.to_string().starts_with("CACHEHOUSE_PROFILE: is \"production\""), "{error}");
        let error = CacheHouse::from_file("missing.toml").build().expect_err("there is none");
        assert!(error.is_config() && error.to_string().starts_with("missing.toml: isn't there"), "{error}");
    });
}

#[test]
fn a_variable_names_the_file() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let (above, below) = (folder.path().join("cachehouse.toml"), folder.path().join("below"));
    fs::write(&above, "memory = {}\nnamespace = \"above\"").expect("it can be written");
    fs::create_dir(&below).expect("it can be made");
    let name = "configuration::a_variable_names_the_file";
    alone_in(name, &below, &[("CACHEHOUSE_CONFIG", "../cachehouse.toml")], || {
        let cache = CacheHouse::load().build().expect("it's right");
        assert!(cache.key(&call("f")).expect("it has a key").starts_with("cachehouse:above:"));
        assert!(cache_house::Config::find_file_upwards().expect("it's above").ends_with("cachehouse.toml"));
    });
}

/// Whose bytes tell whose they are.
struct Marked(u8);

impl Codec for Marked {
    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
        let mut bytes = vec![self.0];
        bytes.extend(serde_json::to_vec(value)?);
        Ok(bytes)
    }

    fn decode<'de>(
        &self,
        bytes: &'de [u8],
        read: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'de>) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        let bytes = bytes.strip_prefix(&[self.0]).ok_or("another's")?;
        let mut json = serde_json::Deserializer::from_slice(bytes);
        read(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json))
    }
}

#[test]
fn a_namespace_s_options_stand_between_the_handle_s_and_the_call_s() {
    let server = Server::start();
    let minute = Duration::from_secs(60);
    let own = NamespaceOptions::default().expire(2 * minute).codec(Marked(b'n'));
    let builder = standalone(server.endpoint()).expire(minute).codec(Marked(b'h'));
    let builder = builder
        .namespace_options("a:b", own)
        .namespace_options("expire only", NamespaceOptions::default().expire(minute * 3));
    let cache = support::connect(builder);
    let stored = |cache: &cache_house::CacheHandle, options: CacheOptions| {
        let key = cache.key(&options).expect("it has a key");
        assert_eq!(cache.cached(options.clone(), || 7), 7);
        assert_eq!(cache.get::<i32>(options), Some(7));
        let ttl = (server.millis_left(&key) as f64 / 60_000.0).ceil() as u64;
        (String::from_utf8(server.get(&key).expect("it's stored")).expect("it's text"), ttl)
    };
    let named = |name: &str, namespace: &str| call(name).namespace(namespace);
    assert_eq!(stored(&cache, call("f")), ("h7".into(), 1));
    assert_eq!(stored(&cache, named("f", "other")), ("h7".into(), 1));
    assert_eq!(stored(&cache, named("f", "a:b")), ("n7".into(), 2));
    assert_eq!(stored(&cache, named("f", "a:b").key_prefix("p")), ("n7".into(), 2));
    assert_eq!(stored(&cache, named("f", "expire only")), ("h7".into(), 3));
    assert_eq!(stored(&cache.scoped("a:b"), call("g")), ("n7".into(), 2));
    assert_eq!(stored(&cache.scoped("a:b"), named("g", "other")), ("h7".into(), 1));
    assert_eq!(stored(&cache, named("call", "a:b").expire(4 * minute).codec(Marked(b'c'))), ("c7".into(), 4));
    assert_eq!(stored(&cache, named("call expires", "a:b").expire(4 * minute)), ("n7".into(), 4));

    let pair = named("pair", "a:b")
        .encoder(|_: &i32| Ok::<_, CodecError>(b"mine".to_vec()))
        .decoder(|_: &[u8]| Ok::<_, CodecError>(7));
    let key = cache.key(&pair).expect("it has a key");
    cache.cached(pair, || 7);
    assert_eq!(server.get(&key).as_deref(), Some(&b"mine"[..]));
}

#[test]
fn a_rotated_password_works_without_a_restart() {
    let server = Server::start_with(&["--requirepass", "old"]);
    let folder = TempDir::new().expect("a temporary folder can be made");
    let path = folder.path().join("password");
    fs::write(&path, "old\n").expect("it can be written");
    let settings = Figment::new()
        .merge(Serialized::default("standalone.endpoint", server.endpoint()))
        .merge(Serialized::default("connection.password_file", &path))
        .merge(Serialized::default("connection.reconnect.max_delay", "50ms"));
    let cache = CacheHouse::from_provider(settings).build().expect("it's right");
    until_connected(&cache);
    let mut admin = server.connect().expect("the server answers");
    let mut tell = |words: &[&str]| admin.command(words).expect("the server answers");
    let reason = |cache: &cache_house::CacheHandle| match cache.health() {
        Health::Degraded { reason, .. } => Some((reason.kind(), reason.to_string())),
        _ => None,
    };

    // The server has the new one first.
    tell(&["CONFIG", "SET", "requirepass", "new"]);
    tell(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    wait_until("the old password is refused", support::DEADLINE, || {
        matches!(reason(&cache), Some((ReasonKind::Authentication, _)))
    });
    fs::write(&path, "new\n").expect("it can be written");
    until_connected(&cache);

    // The file is gone for a while, which is told, and is no end.
    fs::remove_file(&path).expect("it can be removed");
    tell(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    until_degraded(&cache);
    wait_until(
        "the missing file is told",
        support::DEADLINE,
        || matches!(reason(&cache), Some((ReasonKind::Authentication, told)) if told.contains("the password file") && told.contains("can't be read")),
    );
    fs::write(&path, "new").expect("it can be written");
    until_connected(&cache);
    assert_eq!(cache.cached(call("f"), || 1), 1);
    assert!(!format!("{cache:?}").contains("new"));
}

#[test]
fn a_file_leads_to_a_cluster_by_name_or_by_detection() {
    let cluster = Cluster::of(3, 0, &[]);
    let folder = TempDir::new().expect("a temporary folder can be made");
    let path = folder.path().join("cache.toml");
    let endpoint = cluster.endpoint();
    for text in [format!("cluster.nodes = [{endpoint:?}]"), format!("autodetect.endpoint = {endpoint:?}")] {
        fs::write(&path, &text).expect("it can be written");
        let cache = CacheHouse::from_file(&path).build().expect("it's right");
        until_connected(&cache);
        assert!(matches!(cache.health(), Health::Connected { topology: Topology::Cluster { .. }, .. }), "{text}");
    }
}

#[test]
fn a_password_file_of_the_builder_has_to_be_there_when_it_is_built() {
    let error = standalone("localhost").password_file("/no/such/file").build().expect_err("there is none");
    assert!(error.is_config());
    assert_eq!(
        error.to_string(),
        "password_file: \"/no/such/file\" can't be read: No such file or directory (os error 2)"
    );
}

/// A file that nothing can be read from: no one writes to it.
#[cfg(unix)]
fn fifo(folder: &TempDir) -> std::path::PathBuf {
    let path = folder.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("`mkfifo` is there");
    assert!(made.success());
    path
}

/// How long a file that hangs is read, and how long one that never ends: long enough for a busy machine to find it too long.
#[cfg(unix)]
const HANGS: Duration = Duration::from_secs(2);
#[cfg(unix)]
const NEVER_ENDS: Duration = Duration::from_secs(30);

#[cfg(unix)]
#[test]
fn a_password_file_that_hangs_or_never_ends_is_an_error_of_build() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let build = |path: &std::path::Path, patience| {
        let path = path.to_owned();
        let build = move || standalone("localhost").password_file(path).connect_timeout(patience).build();
        support::finishes("`build` with a file that hangs", build).expect_err("it's no password").to_string()
    };
    let path = fifo(&folder);
    for _ in 0..3 {
        assert_eq!(build(&path, HANGS), format!("password_file: {path:?} isn't read within 2s"));
    }
    assert_eq!(build("/dev/zero".as_ref(), NEVER_ENDS), "password_file: \"/dev/zero\" is longer than 64 KiB");
}

#[cfg(all(unix, feature = "tls"))]
#[test]
fn a_certificate_file_that_hangs_or_never_ends_is_an_error_of_build() {
    use cache_house::Tls;

    let folder = TempDir::new().expect("a temporary folder can be made");
    let [authority, certificate, key] = ["ca.pem", "server.pem", "server.key"]
        .map(|name| format!("{}/tests/integration/faults/tls/{name}", env!("CARGO_MANIFEST_DIR")));
    let build = |tls: Tls, patience| {
        let build = move || standalone("localhost").tls(tls).connect_timeout(patience).build();
        support::finishes("`build` with a file that hangs", build).expect_err("it's no certificate").to_string()
    };
    let fifo = fifo(&folder).display().to_string();
    let endless = ("/dev/zero", "is longer than 1 MiB", NEVER_ENDS);
    for (path, problem, patience) in [(&*fifo, "isn't read within 2s", HANGS), endless] {
        let authorities = Tls::default().ca_file(&authority);
        for (option, tls) in [
            ("ca_file", Tls::default().ca_file(path)),
            ("cert_file", authorities.clone().client_cert(path, &key)),
            ("key_file", authorities.clone().client_cert(&certificate, path)),
        ] {
            assert_eq!(build(tls, patience), format!("tls.{option}: {path} {problem}; accepts a PEM file"));
        }
    }
    // A file that isn't there is told as ever.
    let missing = build(Tls::default().ca_file("/no/such/file"), NEVER_ENDS);
    assert!(missing.starts_with("tls.ca_file: /no/such/file can't be read: "), "{missing}");
    let loaded = folder.path().join("cache.toml");
    fs::write(&loaded, format!("[connection.tls]\nca_file = {fifo:?}")).expect("it can be written");
    let told = support::finishes("`from_file`", move || CacheHouse::from_file(loaded).build());
    assert!(told.expect_err("it's no certificate").to_string().contains("isn't read within 5s"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_password_file_that_hangs_later_costs_one_thread_and_is_read_again_once_it_can_be() {
    support::alone(
        "configuration::a_password_file_that_hangs_later_costs_one_thread_and_is_read_again_once_it_can_be",
        || {
            let server = Server::start_with(&["--requirepass", "right"]);
            let folder = TempDir::new().expect("a temporary folder can be made");
            let path = folder.path().join("password");
            fs::write(&path, "right").expect("it can be written");
            let runtime = support::multi_thread(2);
            let patience = Duration::from_millis(5);
            let cache = {
                let _inside = runtime.enter();
                standalone(server.endpoint()).password_file(&path).build().expect("it's right")
            };
            until_connected(&cache);
            let threads = || fs::read_dir("/proc/self/task").expect("it can be read").count();
            let before = threads();
            fs::rename(fifo(&folder), &path).expect("it can be renamed");
            let others: Vec<_> = (0..50)
                .map(|_| {
                    let built = standalone(server.endpoint()).password_file(&path).connect_timeout(patience).build();
                    built.expect_err("it hangs").to_string()
                })
                .collect();
            assert!(others.iter().all(|told| told.contains("isn't read within 5ms")), "{others:?}");
            server.kill();
            server.restart();
            until_degraded(&cache);
            assert!(threads() <= before + 2, "{} threads, {before} before", threads());
            fs::write(&path, "right").expect("it can be written to whoever reads it");
            fs::remove_file(&path).expect("it can be removed");
            fs::write(&path, "right").expect("it can be written");
            until_connected(&cache);
        },
    );
}

#[cfg(feature = "tls")]
#[test]
fn the_error_of_a_bad_certificate_file_names_its_place() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let path = folder.path().join("cache.toml");
    fs::write(folder.path().join("ca.pem"), "no certificate").expect("it can be written");
    fs::write(&path, "\n[connection.tls]\nca_file = \"ca.pem\"").expect("it can be written");
    let error = CacheHouse::from_file(&path).build().expect_err("it's no certificate").to_string();
    let error = error.replace(&*folder.path().to_string_lossy(), "FOLDER");
    insta::assert_snapshot!(error, @"connection.tls.ca_file: FOLDER/ca.pem holds no certificate; accepts a PEM file (FOLDER/cache.toml:3)");
}
