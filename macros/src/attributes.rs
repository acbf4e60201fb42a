//! Which of a function's attributes go to which of the functions that are made of it.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::punctuated::Punctuated;
use syn::{Attribute, Meta, Token};

/// The function itself, which looks into the cache; its forced refresh; its work, which is the body; the options of its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Cached,
    Refresh,
    Work,
    Options,
}

/// The attributes that the function in this role has.
pub(crate) fn of_role(attributes: &[Attribute], role: Role) -> TokenStream {
    let metas = attributes.iter().filter_map(|attribute| in_role(&attribute.meta, role));
    quote!(#(#[#metas])*)
}

fn in_role(meta: &Meta, role: Role) -> Option<TokenStream> {
    let Some(name) = meta.path().get_ident() else {
        // Of another macro or tool: it belongs to the body.
        return (role == Role::Work).then(|| meta.to_token_stream());
    };
    let goes = match name.to_string().as_str() {
        "doc" => matches!(meta, Meta::List(_)) || role == Role::Cached,
        "cfg" | "allow" | "warn" | "deny" | "forbid" => true,
        "deprecated" => role == Role::Cached,
        // A refresh may be made for its effect alone.
        "must_use" => matches!(role, Role::Cached | Role::Work),
        "cold" | "inline" | "target_feature" | "track_caller" => role != Role::Options,
        // Met where the body is; elsewhere an expectation would be unfulfilled.
        "expect" if role != Role::Work => return Some(allowed(meta)),
        "cfg_attr" => return conditional(meta, role),
        _ => role == Role::Work,
    };
    goes.then(|| meta.to_token_stream())
}

fn allowed(expect: &Meta) -> TokenStream {
    match expect {
        Meta::List(list) => {
            let lints = &list.tokens;
            quote!(allow(#lints))
        }
        other => other.to_token_stream(),
    }
}

/// `cfg_attr(condition, one, two…)` with those of the attributes that go to `role`.
fn conditional(meta: &Meta, role: Role) -> Option<TokenStream> {
    let Meta::List(list) = meta else { return Some(meta.to_token_stream()) };
    let Ok(metas) = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) else {
        // Not as expected, which the compiler says better.
        return Some(meta.to_token_stream());
    };
    let mut metas = metas.iter();
    let condition = metas.next()?;
    let kept: Vec<_> = metas.filter_map(|meta| in_role(meta, role)).collect();
    (!kept.is_empty()).then(|| quote!(cfg_attr(#condition, #(#kept),*)))
}
