//! What is written between the parentheses of `#[cached(…)]`.

use std::time::Duration;

use proc_macro2::{Literal, Span};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::token::Paren;
use syn::{Error, Expr, ExprLit, Ident, Lit, LitBool, LitStr, Result, Token, parenthesized, parse_quote_spanned};

use crate::words;

/// The arguments, checked as far as they can be without the function.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) associated: Option<bool>,
    pub(crate) codec: Option<Expr>,
    pub(crate) decoder: Option<Expr>,
    pub(crate) encoder: Option<Expr>,
    pub(crate) expire: Option<Expr>,
    pub(crate) fence: Option<Expr>,
    pub(crate) handle: Option<Expr>,
    pub(crate) key: Option<Vec<Expr>>,
    pub(crate) key_builder: Option<Expr>,
    pub(crate) key_prefix: Option<Expr>,
    pub(crate) lease: Option<Expr>,
    pub(crate) module: Option<Expr>,
    pub(crate) name: Option<LitStr>,
    pub(crate) namespace: Option<Expr>,
    pub(crate) result: Option<bool>,
    pub(crate) skip: Vec<Ident>,
}

const KNOWN: [&str; 16] = [
    "associated",
    "codec",
    "decoder",
    "encoder",
    "expire",
    "fence",
    "handle",
    "key",
    "key_builder",
    "key_prefix",
    "lease",
    "module",
    "name",
    "namespace",
    "result",
    "skip",
];

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut arguments = Self::default();
        let mut given: Vec<Ident> = Vec::new();
        while !input.is_empty() {
            let argument = input.call(Ident::parse_any)?;
            if given.contains(&argument) {
                return Err(Error::new(argument.span(), format!("`{argument}` is given twice")));
            }
            arguments.take(&argument, input)?;
            given.push(argument);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        check_pairs(&given)?;
        Ok(arguments)
    }
}

impl Arguments {
    /// Reads what follows the name of an argument.
    fn take(&mut self, argument: &Ident, input: ParseStream<'_>) -> Result<()> {
        match argument.to_string().as_str() {
            "associated" => self.associated = Some(value::<LitBool>(argument, input)?.value),
            "codec" => self.codec = Some(value(argument, input)?),
            "decoder" => self.decoder = Some(value(argument, input)?),
            "encoder" => self.encoder = Some(value(argument, input)?),
            "expire" => self.expire = Some(ttl(value(argument, input)?)?),
            "fence" => self.fence = Some(value(argument, input)?),
            "handle" => self.handle = Some(value(argument, input)?),
            "key" => self.key = Some(list(argument, "expressions", input, Expr::parse)?),
            "key_builder" => self.key_builder = Some(value(argument, input)?),
            "key_prefix" => self.key_prefix = Some(value(argument, input)?),
            "lease" => self.lease = Some(ttl(value(argument, input)?)?),
            "module" => self.module = Some(value(argument, input)?),
            "name" => self.name = Some(value(argument, input)?),
            "namespace" => self.namespace = Some(value(argument, input)?),
            "result" => self.result = Some(value::<LitBool>(argument, input)?.value),
            "skip" => self.skip = list(argument, "arguments", input, Ident::parse_any)?,
            unknown => {
                let advice = match words::nearest(unknown, &KNOWN) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("known are `{}`", KNOWN.join("`, `")),
                };
                return Err(Error::new(argument.span(), format!("unknown argument `{unknown}`; {advice}")));
            }
        }
        Ok(())
    }

    /// All expressions, of which any may name one of the function's arguments.
    pub(crate) fn expressions(&self) -> impl Iterator<Item = &Expr> {
        self.of_options().chain([&self.decoder, &self.encoder, &self.handle].into_iter().flatten())
    }

    /// The expressions that the options of a call are made of, but for the functions' pair and the arguments themselves.
    pub(crate) fn of_options(&self) -> impl Iterator<Item = &Expr> {
        let plain = [&self.codec, &self.expire, &self.fence, &self.key_builder, &self.key_prefix];
        let single = plain.into_iter().chain([&self.lease, &self.module, &self.namespace]);
        single.flatten().chain(self.key.iter().flatten())
    }
}

/// What stands behind `=`.
fn value<T: Parse>(argument: &Ident, input: ParseStream<'_>) -> Result<T> {
    if !input.peek(Token![=]) {
        return Err(Error::new(argument.span(), format!("write it `{argument} = …`")));
    }
    input.parse::<Token![=]>()?;
    input.parse()
}

/// What stands between parentheses.
fn list<T>(
    argument: &Ident,
    of: &str,
    input: ParseStream<'_>,
    parse: fn(ParseStream<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    if !input.peek(Paren) {
        return Err(Error::new(
            argument.span(),
            format!("write it `{argument}(…)`, with {of} between the parentheses"),
        ));
    }
    let content;
    parenthesized!(content in input);
    Ok(Punctuated::<T, Token![,]>::parse_terminated_with(&content, parse)?.into_iter().collect())
}

/// Arguments that exclude each other, and those that come in pairs.
fn check_pairs(given: &[Ident]) -> Result<()> {
    let find = |name: &str| given.iter().find(|argument| *argument == name);
    let error = |argument: &Ident, message: &str| Err(Error::new(argument.span(), message));
    if let (Some(skip), Some(_)) = (find("skip"), find("key")) {
        return error(skip, "`key` says all that is part of the key: leave out `skip`");
    }
    match (find("encoder"), find("decoder"), find("codec")) {
        (Some(encoder), None, _) => error(encoder, "`encoder` needs a `decoder`"),
        (None, Some(decoder), _) => error(decoder, "`decoder` needs an `encoder`"),
        (Some(_), Some(_), Some(codec)) => {
            error(codec, "`encoder` and `decoder` do what a `codec` does: leave out one or the other")
        }
        _ => Ok(()),
    }
}

/// A text is a duration as humantime reads it, a number is of whole seconds, and anything else an expression for it.
fn ttl(expire: Expr) -> Result<Expr> {
    let Expr::Lit(ExprLit { lit, .. }) = &expire else { return Ok(expire) };
    let wrong = |problem: String| {
        Error::new(lit.span(), format!("{problem}; write a duration like \"5m\" or \"1h 30m\", or whole seconds"))
    };
    let ttl = match lit {
        Lit::Str(text) => humantime::parse_duration(&text.value()).map_err(|error| wrong(error.to_string()))?,
        Lit::Int(seconds) if seconds.suffix().is_empty() => {
            Duration::from_secs(seconds.base10_parse().map_err(|error: Error| wrong(error.to_string()))?)
        }
        _ => return Err(wrong("not a duration".to_owned())),
    };
    Ok(written(ttl, lit.span()))
}

fn written(ttl: Duration, span: Span) -> Expr {
    let seconds = Literal::u64_unsuffixed(ttl.as_secs());
    let duration = quote!(::core::time::Duration);
    match ttl.subsec_nanos() {
        0 => parse_quote_spanned!(span=> #duration::from_secs(#seconds)),
        nanos => parse_quote_spanned!(span=> #duration::new(#seconds, #nanos)),
    }
}
