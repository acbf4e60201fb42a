//! The value that is cached.

use hitbox_fn::CacheableResponse;
use serde::{Deserialize, Serialize};

/// 175 bytes of JSON: the one of `benches/common`, with the derive that hitbox asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CacheableResponse)]
pub(crate) struct User {
    id: u64,
    name: String,
    email: String,
    bio: String,
    active: bool,
    balance: f64,
}

pub(crate) fn user(id: u64) -> User {
    User {
        id,
        name: "Ada Lovelace".into(),
        email: "ada@example.com".into(),
        bio: "Wrote the first program, for a machine that was never built in her time.".into(),
        active: true,
        balance: 1234.5,
    }
}
