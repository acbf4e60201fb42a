//! Lua scripts that a server runs, and what they return.

use std::sync::OnceLock;

use bytes::Bytes;
use sha1_smol::Sha1;

/// A script, which servers know by the SHA-1 of its source. All its keys have to be in one slot.
pub(crate) struct Script {
    source: &'static str,
    sha1: OnceLock<String>,
}

/// What a script returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ScriptReply {
    /// Also Lua's `false`.
    Nil,
    Integer(i64),
    Bytes(Bytes),
    Array(Vec<ScriptReply>),
}

impl Script {
    pub(crate) const fn new(source: &'static str) -> Self {
        Self { source, sha1: OnceLock::new() }
    }

    pub(crate) fn source(&self) -> &'static str {
        self.source
    }

    /// 40 hexadecimal digits; computed once.
    pub(crate) fn sha1(&self) -> &str {
        self.sha1.get_or_init(|| Sha1::from(self.source).digest().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_has_the_name_that_servers_give_it() {
        // What `SCRIPT LOAD "return 1"` answers.
        assert_eq!(Script::new("return 1").sha1(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }
}
