//! Return types, as they are written: their names, and those that can't be cached.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::punctuated::Punctuated;
use syn::{
    Error, GenericArgument, PathArguments, PathSegment, Result, ReturnType, Signature, Token, Type, TypeParamBound,
    TypeReference,
};

use crate::arguments::Arguments;
use crate::function::ends_with;
use crate::words;

/// The type that a function returns, where it has a name: without `impl Trait` anywhere.
pub(crate) fn named(signature: &Signature) -> Option<TokenStream> {
    match &signature.output {
        ReturnType::Default => Some(quote!(())),
        ReturnType::Type(_, ty) => {
            let ty = ty.to_token_stream();
            words::impl_trait(ty.clone()).is_none().then_some(ty)
        }
    }
}

/// Whether the return type is `impl Trait` itself, which is nothing else to a caller.
pub(crate) fn is_bare_impl_trait(signature: &Signature) -> bool {
    matches!(&signature.output, ReturnType::Type(_, ty) if matches!(**ty, Type::ImplTrait(_)))
}

/// Refuses futures, which a sync function can only hand on, and what is borrowed.
pub(crate) fn check(signature: &Signature, arguments: &Arguments) -> Result<()> {
    let ReturnType::Type(_, ty) = &signature.output else { return Ok(()) };
    if signature.asyncness.is_none()
        && let Some(advice) = advice_on_future(ty)
    {
        // Of all tokens that `async_trait` writes, the name alone is the user's.
        return Err(Error::new(signature.ident.span(), advice));
    }
    // A pair of functions may well decode to a `'static` borrow.
    if arguments.encoder.is_none()
        && let Some(borrowed) = borrowed(ty)
    {
        let message =
            format!("a cached value outlives what it borrows; return {} in place of a reference", owned(borrowed));
        return Err(Error::new_spanned(borrowed, message));
    }
    Ok(())
}

/// Whether a sync function returns a future, so that its work hasn't ended when it has.
pub(crate) fn is_future(signature: &Signature) -> bool {
    let ReturnType::Type(_, ty) = &signature.output else { return false };
    signature.asyncness.is_none() && advice_on_future(ty).is_some()
}

/// What to do instead, if the type is a future.
fn advice_on_future(ty: &Type) -> Option<&'static str> {
    match ty {
        Type::Paren(paren) => advice_on_future(&paren.elem),
        Type::Group(group) => advice_on_future(&group.elem),
        Type::ImplTrait(of) if says_future(&of.bounds) => {
            Some("a future can't be cached, only what it returns; write the function as `async fn`")
        }
        Type::Path(_) if is_boxed_future(ty) => Some(
            "a future can't be cached, only what it returns; put `cached` on an `async fn` of the type itself, and call that from \
             here (`async_trait` makes such a return type of an `async fn`)",
        ),
        _ => None,
    }
}

fn is_boxed_future(ty: &Type) -> bool {
    match ty {
        Type::TraitObject(of) => says_future(&of.bounds),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| match last.ident.to_string().as_str() {
            "BoxFuture" | "LocalBoxFuture" => true,
            "Box" | "Pin" => types_in(last).any(is_boxed_future),
            _ => false,
        }),
        _ => false,
    }
}

fn says_future(bounds: &Punctuated<TypeParamBound, Token![+]>) -> bool {
    bounds.iter().any(|bound| matches!(bound, TypeParamBound::Trait(of) if ends_with(&of.path, "Future")))
}

/// The first reference in what is stored. What isn't known from the standard library may have one for whatever reason.
fn borrowed(ty: &Type) -> Option<&TypeReference> {
    match ty {
        Type::Reference(reference) => Some(reference),
        Type::Paren(paren) => borrowed(&paren.elem),
        Type::Group(group) => borrowed(&group.elem),
        Type::Array(array) => borrowed(&array.elem),
        Type::Tuple(tuple) => tuple.elems.iter().find_map(borrowed),
        Type::Path(path) => {
            let last = path.path.segments.last()?;
            let holds = match last.ident.to_string().as_str() {
                "Arc" | "BTreeMap" | "BTreeSet" | "Box" | "HashMap" | "HashSet" | "Option" | "Rc" | "Vec"
                | "VecDeque" => usize::MAX,
                // Its error isn't stored.
                "Result" => 1,
                _ => 0,
            };
            types_in(last).take(holds).find_map(borrowed)
        }
        _ => None,
    }
}

fn types_in(segment: &PathSegment) -> impl Iterator<Item = &Type> {
    let arguments = match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => Some(&arguments.args),
        _ => None,
    };
    arguments.into_iter().flatten().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// The owned type to return in place of a reference.
fn owned(reference: &TypeReference) -> String {
    let of = match &*reference.elem {
        Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
        Type::Slice(_) => Some("[]".to_owned()),
        _ => None,
    };
    match of.as_deref() {
        Some("str") => "a `String`".to_owned(),
        Some("[]") => "a `Vec`".to_owned(),
        Some("Path") => "a `PathBuf`".to_owned(),
        Some(name) => format!("the `{name}` itself"),
        None => "an owned value".to_owned(),
    }
}
