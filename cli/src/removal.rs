//! `cachehouse remove`, `clear` and `remove-tag`, which ask first.

use std::io::{self, BufRead, IsTerminal, Write};

use cache_house::{Applied, Error};
use serde::Serialize;

use crate::arguments::{Clear, Common, Consent, Remove, RemoveTag};
use crate::failure::Failure;
use crate::output::{self, one_line};
use crate::session::Session;

/// What was done.
#[derive(Serialize)]
struct Removed {
    /// Keys on the server that are gone.
    removed: u64,
}

pub(crate) async fn remove(common: &Common, remove: &Remove) -> Result<(), Failure> {
    let what = match &remove.key[..] {
        [key] => format!("the key {}", one_line(key)),
        keys => format!("{} keys", keys.len()),
    };
    let session = begin(common, &remove.consent, &what).await?;
    let mut removed = 0;
    let mut outcome = Ok(());
    for (done, key) in remove.key.iter().enumerate() {
        match session.operator.remove(key).await {
            Ok(was_there) => removed += u64::from(was_there),
            Err(error) => {
                let rest = remove.key.len() - done;
                outcome = Err(Failure::finding(format!("{error}\n\n{rest} of the keys may still be there")));
                break;
            }
        }
    }
    session.close().await;
    tell(common, removed, "key")?;
    outcome
}

pub(crate) async fn clear(common: &Common, clear: &Clear) -> Result<(), Failure> {
    if clear.namespace.is_empty() {
        return Err(Failure::usage("the namespace is empty; accepts a text of at least one character"));
    }
    let what = format!("all of the namespace {}", one_line(&clear.namespace));
    let session = begin(common, &clear.consent, &what).await?;
    let applied = session.cache.clear_namespace_async(&clear.namespace).await;
    session.close().await;
    tell(common, confirmed(applied)?, "key")
}

pub(crate) async fn remove_tag(common: &Common, remove: &RemoveTag) -> Result<(), Failure> {
    let what = format!("all that is tagged {}", one_line(&remove.tag));
    let session = begin(common, &remove.consent, &what).await?;
    let applied = session.cache.remove_tag_async(&remove.tag).await;
    session.close().await;
    tell(common, confirmed(applied)?, "tag")
}

/// A connected session, once it may be done.
async fn begin(common: &Common, consent: &Consent, what: &str) -> Result<Session, Failure> {
    let asks = !consent.yes;
    if asks && !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Failure::usage(format!("there is no terminal to ask on; --yes removes {what} without asking")));
    }
    let session = Session::open(common).await?;
    let question = format!("Remove {what} from {}?", session.endpoint);
    if asks && !agreed(&question, io::stdin().lock(), io::stderr().lock())? {
        session.close().await;
        return Err(Failure::finding("nothing was removed"));
    }
    Ok(session)
}

/// Anything but a yes is a no, as is the end of the input.
fn agreed(question: &str, mut answers: impl BufRead, mut screen: impl Write) -> io::Result<bool> {
    write!(screen, "{question} [y/N] ")?;
    screen.flush()?;
    let mut answer = String::new();
    answers.read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// What the server has confirmed: this process's journal ends with it.
fn confirmed(applied: Result<Applied, Error>) -> Result<u64, Failure> {
    let applied = applied?;
    if applied.journalled {
        return Err(Failure::finding("the server hasn't confirmed it: some of it may still be there, so run it again"));
    }
    Ok(applied.entries)
}

fn tell(common: &Common, removed: u64, noun: &str) -> Result<(), Failure> {
    if common.json {
        return output::print_json(&Removed { removed });
    }
    let plural = if removed == 1 { "" } else { "s" };
    output::print(&format!("removed {} {noun}{plural}", output::count(removed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, is_yes) in
            [("y\n", true), ("YES\r\n", true), ("\n", false), ("", false), ("yeah\n", false), ("n\ny\n", false)]
        {
            let mut screen = Vec::new();
            assert_eq!(
                agreed("Remove it?", answer.as_bytes(), &mut screen).expect("it's in memory"),
                is_yes,
                "{answer:?}"
            );
            assert_eq!(screen, b"Remove it? [y/N] ");
        }
    }
}
