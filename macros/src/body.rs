//! A function's body inside of another one. It returns early where it always did, so it states the type that it returns.

use proc_macro2::{Group, TokenStream};
use quote::quote;
use syn::{ReturnType, Signature};

use crate::expand::hidden;
use crate::output;

/// As a closure, which is handed on.
pub(crate) fn as_closure(signature: &Signature, body: &Group) -> TokenStream {
    if signature.asyncness.is_some() {
        let future = as_future(signature, body);
        return quote!(move || #future);
    }
    let returns = stated_type(signature).map(|ty| quote!(-> #ty));
    quote!(move || #returns #body)
}

/// An async function's, as a future.
pub(crate) fn as_future(signature: &Signature, body: &Group) -> TokenStream {
    let never = hidden("never");
    let statement = stated_type(signature).map(|ty| {
        quote! {
            #[allow(unreachable_code, clippy::all, clippy::pedantic)]
            if false {
                let #never: #ty = loop {};
                return #never;
            }
        }
    });
    quote!(async move { #statement #body })
}

fn stated_type(signature: &Signature) -> Option<TokenStream> {
    match &signature.output {
        ReturnType::Type(..) => output::named(signature),
        ReturnType::Default => None,
    }
}
