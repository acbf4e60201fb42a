//! The function that the attribute stands on.

use std::hash::{DefaultHasher, Hash, Hasher};

use proc_macro2::{Delimiter, Group, TokenStream};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream};
use syn::{
    Attribute, Error, FnArg, GenericParam, Ident, Pat, PatType, Path, ReceiverKind, Result, Safety, Signature, Token,
    Type, Visibility,
};

use crate::arguments::Arguments;
use crate::{output, words};

/// A function that can be cached.
pub(crate) struct Function {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) signature: Signature,
    /// As it's written, braces included: nothing in it has to be understood.
    pub(crate) body: Group,
    /// Without `self`.
    pub(crate) parameters: Vec<Parameter>,
}

/// An argument in the function's signature.
pub(crate) struct Parameter {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let begins_a_function = input.peek(Token![fn])
            || input.peek(Token![async])
            || input.peek(Token![const])
            || input.peek(Token![unsafe])
            || input.peek(Token![extern]);
        if !begins_a_function {
            return Err(input.error("`cached` goes on a function"));
        }
        let signature: Signature = input.parse()?;
        if input.peek(Token![;]) {
            return Err(input.error("without a body there is nothing to cache: put `cached` where the body is"));
        }
        let body: Group = input.parse()?;
        if body.delimiter() != Delimiter::Brace {
            return Err(Error::new(body.span(), "expected the function's body"));
        }
        check_kind(&signature)?;
        if let Some(again) = attributes.iter().find(|attribute| ends_with(attribute.path(), "cached")) {
            return Err(Error::new_spanned(again, "`cached` is given twice"));
        }
        let parameters = signature.inputs.iter().filter_map(parameter).collect::<Result<_>>()?;
        Ok(Self { attributes, visibility, signature, body, parameters })
    }
}

impl Function {
    /// Checks what the attribute's arguments say of the function's.
    pub(crate) fn check(&self, arguments: &Arguments) -> Result<()> {
        for (at, skipped) in arguments.skip.iter().enumerate() {
            if skipped == "self" {
                return Err(Error::new(skipped.span(), "`self` isn't part of the key anyway"));
            }
            if !self.parameters.iter().any(|parameter| parameter.name == *skipped) {
                let message = format!("`{}` has no argument `{skipped}`", self.signature.ident);
                return Err(Error::new(skipped.span(), message));
            }
            if arguments.skip[..at].contains(skipped) {
                return Err(Error::new(skipped.span(), format!("`{skipped}` is skipped twice")));
            }
        }
        output::check(&self.signature, arguments)
    }

    /// Whether the function belongs to a type, as far as can be seen from here.
    pub(crate) fn is_associated(&self) -> bool {
        self.signature.receiver().is_some()
            || words::mentions(self.signature.to_token_stream(), "Self")
            || words::says_self_type(self.body.stream())
    }

    /// Tells functions of one name apart.
    pub(crate) fn fingerprint(&self) -> u32 {
        let mut hasher = DefaultHasher::new();
        (self.signature.to_token_stream().to_string(), self.body.to_string()).hash(&mut hasher);
        // A half tells enough.
        hasher.finish() as u32
    }

    /// Whether what `tokens` borrow may be moved or borrowed mutably by a call of the function.
    pub(crate) fn moves_what_is_in(&self, tokens: &TokenStream) -> bool {
        let shared = |ty: &Type| matches!(ty, Type::Reference(reference) if reference.mutability.is_none());
        let moves_self = self.signature.receiver().is_some_and(|receiver| match &receiver.kind {
            ReceiverKind::Reference(_, _, mutability) => mutability.is_some(),
            ReceiverKind::Typed(_, ty) => !shared(ty),
            _ => true,
        });
        (moves_self && words::mentions(tokens.clone(), "self"))
            || self
                .parameters
                .iter()
                .any(|parameter| !shared(&parameter.ty) && words::mentions(tokens.clone(), &parameter.name.to_string()))
    }

    /// Generic types and constants, which a call may have to name. Lifetimes never are.
    pub(crate) fn generics(&self) -> impl Iterator<Item = &GenericParam> {
        self.signature.generics.params.iter().filter(|parameter| !matches!(parameter, GenericParam::Lifetime(_)))
    }
}

fn check_kind(signature: &Signature) -> Result<()> {
    if let Some(constness) = &signature.constness {
        return Err(Error::new_spanned(constness, "a `const fn` can't be cached: looking into a cache isn't constant"));
    }
    if !matches!(signature.safety, Safety::Default) {
        let message =
            "an `unsafe fn` can't be cached: the work would run out of its caller's sight; cache a safe one around it";
        return Err(Error::new_spanned(&signature.safety, message));
    }
    if let Some(abi) = &signature.abi {
        return Err(Error::new_spanned(
            abi,
            "an `extern` function can't be cached; cache one of Rust's own and call that",
        ));
    }
    Ok(())
}

fn parameter(argument: &FnArg) -> Option<Result<Parameter>> {
    match argument {
        FnArg::Receiver(receiver) => check_attributes(&receiver.attrs).err().map(Err),
        FnArg::Typed(typed) => Some(typed_parameter(typed)),
    }
}

fn typed_parameter(argument: &PatType) -> Result<Parameter> {
    check_attributes(&argument.attrs)?;
    let name = match argument.pat.as_ref() {
        Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => pattern.ident.clone(),
        other => {
            let message = "an argument of a cached function needs a name; take it apart in the body";
            return Err(Error::new_spanned(other, message));
        }
    };
    if let Some(word) = words::impl_trait(argument.ty.to_token_stream()) {
        let message =
            "the type of a cached function's argument needs a name, which is part of the key: write `fn f<T: …>(x: T)`";
        return Err(Error::new(word.span(), message));
    }
    Ok(Parameter { name, ty: (*argument.ty).clone() })
}

fn check_attributes(attributes: &[Attribute]) -> Result<()> {
    match attributes
        .iter()
        .find(|attribute| ends_with(attribute.path(), "cfg") || ends_with(attribute.path(), "cfg_attr"))
    {
        Some(condition) => Err(Error::new_spanned(
            condition,
            "an argument of a cached function is there always or never: put the condition on the function",
        )),
        None => Ok(()),
    }
}

pub(crate) fn ends_with(path: &Path, name: &str) -> bool {
    path.segments.last().is_some_and(|segment| segment.ident == name)
}
