//! Running scripts on the node that has their keys.

use bytes::Bytes;

use super::super::script::{Script, ScriptReply};
use super::super::server::ServerError;
use super::super::slots::slot_of;
use super::command::{Command, ScriptCall};
use super::inner::Inner;
use super::reply;
use crate::key::ServerKey;

impl Inner {
    /// Runs `script` on the primary of its keys, wherever that is. Sends its SHA-1, and its source only where the server doesn't know
    /// that: after a restart or `SCRIPT FLUSH`, or on a node that a slot has moved to.
    ///
    /// # Errors
    ///
    /// Refused as `CROSSSLOT` where the keys aren't of one slot, also by a server that isn't of a cluster, so that a script which works
    /// there works everywhere.
    pub(super) async fn run_script(
        &self,
        script: &'static Script,
        keys: &[ServerKey],
        args: Vec<Bytes>,
    ) -> Result<ScriptReply, ServerError> {
        let Some(first) = one_slot(keys) else {
            let message = "a script's keys have to be in one slot".into();
            return Err(ServerError::Refused { code: "CROSSSLOT".into(), message });
        };
        let call = Box::new(ScriptCall { script, keys: keys.to_vec(), args });
        let sent = match self.send(first, Command::EvalSha(call.clone())).await {
            // Nothing was run, so nothing is run twice.
            Err(error) if reply::is_no_script(&error) => self.send(first, Command::Eval(call)).await,
            sent => sent,
        };
        reply::script_reply(sent?)
    }
}

/// The first of the keys, if there are any and all are of one slot.
fn one_slot(keys: &[ServerKey]) -> Option<&ServerKey> {
    let (first, others) = keys.split_first()?;
    let slot = slot_of(first);
    others.iter().all(|key| slot_of(key) == slot).then_some(first)
}
