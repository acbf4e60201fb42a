//! The attributes `cached` and `evict` of [cache-house](https://crates.io/crates/cache-house), which re-exports them: use them from
//! there.

mod arguments;
mod attributes;
mod body;
mod evict;
mod expand;
mod function;
mod interpolation;
mod literals;
mod output;
#[cfg(test)]
mod tests;
mod words;

use proc_macro::TokenStream;

// Described in docs/attribute.md of cache-house, where the examples can run.
#[expect(missing_docs, reason = "the re-export has the documentation, and would show both")]
#[doc(alias("memoize", "memo", "read-through"))]
#[proc_macro_attribute]
pub fn cached(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand::expand(arguments.into(), function.into()).into()
}

#[expect(missing_docs, reason = "the re-export has the documentation, and would show both")]
#[doc(alias("invalidate", "CacheEvict", "cache_remove"))]
#[proc_macro_attribute]
pub fn evict(arguments: TokenStream, function: TokenStream) -> TokenStream {
    evict::expand(arguments.into(), function.into()).into()
}
