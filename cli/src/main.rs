//! The command `cachehouse`: what those who operate a service look at and change of its cache.

mod arguments;
mod check;
mod decode;
mod failure;
mod key;
mod namespaces;
mod output;
mod removal;
mod session;
mod show;
mod top;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
use failure::Failure;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let common = &arguments.common;
    // Its one connection is no reason for an I/O thread.
    if let Command::Top(top) = &arguments.command {
        return top::run(top, common.json);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::finding(format!("no thread can be started: {error}")))?;
    runtime.block_on(async {
        match &arguments.command {
            Command::Check => check::run(common).await,
            Command::Namespaces(namespaces) => namespaces::run(common, namespaces).await,
            Command::Show(show) => show::run(common, show).await,
            Command::Key(key) => key::run(common, key).await,
            Command::Remove(remove) => removal::remove(common, remove).await,
            Command::Clear(clear) => removal::clear(common, clear).await,
            Command::RemoveTag(remove_tag) => removal::remove_tag(common, remove_tag).await,
            Command::Top(_) => Ok(()),
        }
    })
}
