//! What is written between the parentheses of `#[cached(…)]`.

use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::token::Paren;
use syn::{Error, Expr, Ident, LitBool, LitStr, Result, Token, parenthesized};

use crate::literals::{Seen, check_tags, number};
use crate::words;

/// The arguments, checked as far as they can be without the function.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) associated: Option<bool>,
    pub(crate) codec: Option<Expr>,
    pub(crate) decoder: Option<Expr>,
    pub(crate) encoder: Option<Expr>,
    pub(crate) expire: Option<Expr>,
    pub(crate) expire_by: Option<Expr>,
    pub(crate) fence: Option<Expr>,
    /// The options of freshness, by the names that they have as options of a call.
    pub(crate) freshness: Vec<(Ident, Expr)>,
    pub(crate) handle: Option<Expr>,
    pub(crate) key: Option<Vec<Expr>>,
    pub(crate) key_builder: Option<Expr>,
    pub(crate) key_prefix: Option<Expr>,
    pub(crate) lease: Option<Expr>,
    pub(crate) module: Option<Expr>,
    pub(crate) name: Option<LitStr>,
    pub(crate) namespace: Option<Expr>,
    pub(crate) result: Option<bool>,
    pub(crate) siblings: Option<bool>,
    pub(crate) skip: Vec<Ident>,
    pub(crate) store_if: Option<Expr>,
    pub(crate) tags: Vec<Expr>,
    pub(crate) version: Option<Expr>,
    seen: Seen,
}

const KNOWN: [&str; 29] = [
    "associated",
    "codec",
    "decoder",
    "encoder",
    "expire",
    "expire_by",
    "fence",
    "handle",
    "hard_timeout",
    "jitter",
    "key",
    "key_builder",
    "key_prefix",
    "lease",
    "max_staleness",
    "module",
    "name",
    "namespace",
    "refresh_early",
    "result",
    "retry_after",
    "siblings",
    "skip",
    "soft_timeout",
    "stale_if_error",
    "stale_while_revalidate",
    "store_if",
    "tags",
    "version",
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
        arguments.seen.check()?;
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
            "expire" => self.expire = Some(self.seen.time(argument, value(argument, input)?)?),
            "expire_by" => self.expire_by = Some(value(argument, input)?),
            "fence" => self.fence = Some(value(argument, input)?),
            "handle" => self.handle = Some(value(argument, input)?),
            "hard_timeout"
            | "jitter"
            | "max_staleness"
            | "retry_after"
            | "soft_timeout"
            | "stale_if_error"
            | "stale_while_revalidate" => {
                let time = self.seen.time(argument, value(argument, input)?)?;
                self.freshness.push((argument.clone(), time));
            }
            "key" => self.key = Some(list(argument, "expressions", input, Expr::parse)?),
            "key_builder" => self.key_builder = Some(value(argument, input)?),
            "key_prefix" => self.key_prefix = Some(value(argument, input)?),
            "lease" => self.lease = Some(self.seen.time(argument, value(argument, input)?)?),
            "module" => self.module = Some(value(argument, input)?),
            "name" => self.name = Some(value(argument, input)?),
            "namespace" => self.namespace = Some(value(argument, input)?),
            "refresh_early" => {
                let beta = number(value(argument, input)?)?;
                self.freshness.push((argument.clone(), beta));
            }
            "result" => self.result = Some(value::<LitBool>(argument, input)?.value),
            "siblings" => self.siblings = Some(value::<LitBool>(argument, input)?.value),
            "skip" => self.skip = list(argument, "arguments", input, Ident::parse_any)?,
            "store_if" => self.store_if = Some(value(argument, input)?),
            "tags" => {
                self.tags = flattened(list(argument, "texts or expressions", input, Expr::parse)?);
                check_tags(&self.tags)?;
            }
            "version" => self.version = Some(value(argument, input)?),
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

    /// Those whose texts may name arguments between braces.
    pub(crate) fn texts_mut(&mut self) -> impl Iterator<Item = &mut Expr> {
        self.namespace.iter_mut().chain(&mut self.tags)
    }

    /// All expressions, of which any may name one of the function's arguments.
    pub(crate) fn expressions(&self) -> impl Iterator<Item = &Expr> {
        self.of_options().chain(self.of_value().chain([&self.handle].into_iter().flatten()))
    }

    /// Those that are about the value's type, which the options of a call don't have.
    fn of_value(&self) -> impl Iterator<Item = &Expr> {
        [&self.decoder, &self.encoder, &self.expire_by, &self.store_if].into_iter().flatten()
    }

    /// The expressions that the options of a call are made of, but for those about the value and the arguments themselves.
    pub(crate) fn of_options(&self) -> impl Iterator<Item = &Expr> {
        let plain = [&self.codec, &self.expire, &self.fence, &self.key_builder, &self.key_prefix];
        let single = plain.into_iter().chain([&self.lease, &self.module, &self.namespace, &self.version]);
        let freshness = self.freshness.iter().map(|(_, expression)| expression);
        single.flatten().chain(freshness).chain(&self.tags).chain(self.key.iter().flatten())
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

/// The elements of lists in brackets by themselves.
fn flattened(given: Vec<Expr>) -> Vec<Expr> {
    let elements = |expression| match expression {
        Expr::Array(list) => list.elems.into_iter().collect(),
        other => vec![other],
    };
    given.into_iter().flat_map(elements).collect()
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
