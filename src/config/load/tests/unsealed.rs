//! Compression and encryption where the build has neither.

use super::*;

message!(
    features_that_are_off,
    file("[compression]\n[encryption]\nkey = \"hunter2\"\nprevious_keys = [\"hunter2\"]"),
    @r"
    2 problems in the configuration:
    compression: isn't in this build; turn on the feature `lz4` of cache-house (cachehouse.toml:1)
    encryption: isn't in this build; turn on the feature `encryption` of cache-house (cachehouse.toml:2)
    "
);
