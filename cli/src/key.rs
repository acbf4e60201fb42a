//! `cachehouse key`: the server's key of a call.

use cache_house::{CacheHandle, CacheOptions, Config, Health};
use serde::Serialize;
use serde_json::Value;

use crate::arguments::{Common, Key};
use crate::failure::Failure;
use crate::output;
use crate::session::{reason, right_config, settled, wrong};

#[derive(Serialize)]
struct Shown {
    key: String,
}

pub(crate) async fn run(common: &Common, call: &Key) -> Result<(), Failure> {
    let options = options(call)?;
    let config = right_config(common)?;
    let tagged = !call.tag.is_empty() || has_tags(&config);
    let cache = config.into_builder().build().map_err(wrong)?;
    let key = make(&cache, options, tagged).await;
    cache.close_async().await;
    match (key?, common.json) {
        (key, true) => output::print_json(&Shown { key }),
        (key, false) => output::print(&output::one_line(&key)),
    }
}

/// The tokens of tags are on the server, and those of this process alone would make a key that no other process has.
async fn make(cache: &CacheHandle, options: CacheOptions, tagged: bool) -> Result<String, Failure> {
    if tagged {
        match settled(cache).await {
            Health::Connected { .. } => {}
            Health::Memory => {
                return Err(Failure::finding("without a server a call with tags has another key in each process"));
            }
            health => {
                let reason = reason(&health);
                return Err(Failure::finding(format!("the call has tags, whose tokens are on the server: {reason}")));
            }
        }
    }
    Ok(cache.key(&options)?)
}

fn options(call: &Key) -> Result<CacheOptions, Failure> {
    let mut options = CacheOptions::new(&call.name);
    for arg in &call.args {
        options = options.arg(json(arg, "an argument")?);
    }
    for kwarg in &call.kwarg {
        let (name, arg) = kwarg.split_once('=').ok_or_else(|| Failure::usage("--kwarg accepts NAME=ARG"))?;
        options = options.kwarg(name, json(arg, &format!("the argument `{}`", output::one_line(name)))?);
    }
    if let Some(module) = &call.module {
        options = options.module(module.clone());
    }
    if let Some(namespace) = &call.namespace {
        options = options.namespace(namespace);
    }
    if let Some(version) = call.type_version {
        options = options.version(version);
    }
    Ok(options.tags(&call.tag))
}

/// It isn't quoted where it's wrong: an argument may be a secret.
fn json(text: &str, what: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::usage(format!("{what} isn't JSON ({error}); a text needs quotes of its own: '\"text\"'"))
    })
}

/// Whether the configuration gives tags to calls.
fn has_tags(config: &Config) -> bool {
    config.settings().iter().any(|setting| setting.key() == "tags" || setting.key().ends_with(".tags"))
}
