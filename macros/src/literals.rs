//! Durations, numbers and tags as the attribute takes them: texts and plain numbers are read and checked while compiling.

use std::time::Duration;

use proc_macro2::{Literal, Span};
use quote::quote;
use syn::{Error, Expr, ExprLit, ExprUnary, Ident, Lit, LitStr, Result, UnOp, parse_quote_spanned};

/// As the library has it.
const MOST_BYTES_OF_A_TAG: usize = 512;

/// The durations that can be seen from here, by the names of their arguments.
#[derive(Default)]
pub(crate) struct Seen(Vec<(String, Duration, Span)>);

impl Seen {
    /// A text is a duration as humantime reads it, a number is of whole seconds, and anything else an expression for it.
    pub(crate) fn time(&mut self, argument: &Ident, given: Expr) -> Result<Expr> {
        let Expr::Lit(ExprLit { lit, .. }) = &given else { return Ok(given) };
        let wrong = |problem: String| {
            Error::new(lit.span(), format!("{problem}; write a duration like \"5m\" or \"1h 30m\", or whole seconds"))
        };
        let time = match lit {
            Lit::Str(text) => humantime::parse_duration(&text.value()).map_err(|error| wrong(error.to_string()))?,
            Lit::Int(seconds) if seconds.suffix().is_empty() => {
                Duration::from_secs(seconds.base10_parse().map_err(|error: Error| wrong(error.to_string()))?)
            }
            _ => return Err(wrong("not a duration".to_owned())),
        };
        self.0.push((argument.to_string(), time, lit.span()));
        Ok(written(time, lit.span()))
    }

    /// What can be seen to have no effect.
    pub(crate) fn check(&self) -> Result<()> {
        let time = |name: &str| {
            let (_, time, span) = self.0.iter().find(|(argument, ..)| argument == name)?;
            Some((*time, *span))
        };
        if let Some((pause, span)) = time("retry_after")
            && pause.is_zero()
        {
            let message =
                "every call would try failing work again; write a pause like \"1s\", or leave out `retry_after`";
            return Err(Error::new(span, message));
        }
        if let (Some((soft, span)), Some((hard, _))) = (time("soft_timeout"), time("hard_timeout"))
            && !hard.is_zero()
            && soft >= hard
        {
            let message = "it isn't below the `hard_timeout`, so it never takes effect; make it shorter, or leave out one of them";
            return Err(Error::new(span, message));
        }
        if let Some((expire, span)) = time("expire")
            && expire.is_zero()
        {
            let message =
                "nothing would be stored; write a duration like \"5m\", or leave out `expire` for the handle's";
            return Err(Error::new(span, message));
        }
        Ok(())
    }
}

/// A number that isn't negative, or an expression for an `f64`.
pub(crate) fn number(given: Expr) -> Result<Expr> {
    let wrong = |span: Span, problem: &str| {
        Err(Error::new(span, format!("{problem}; write a number such as 1.0, or an expression for an `f64`")))
    };
    let lit = match &given {
        Expr::Unary(ExprUnary { op: UnOp::Neg(minus), expr, .. }) if matches!(**expr, Expr::Lit(_)) => {
            return wrong(minus.spans[0], "it can't be negative");
        }
        Expr::Lit(ExprLit { lit, .. }) => lit,
        _ => return Ok(given),
    };
    let number: f64 = match lit {
        Lit::Int(number) if number.suffix().is_empty() => number.base10_parse()?,
        Lit::Float(number) if matches!(number.suffix(), "" | "f64") => number.base10_parse()?,
        _ => return wrong(lit.span(), "not a number"),
    };
    if !number.is_finite() {
        return wrong(lit.span(), "too large");
    }
    let mut literal = Literal::f64_suffixed(number);
    literal.set_span(lit.span());
    Ok(parse_quote_spanned!(lit.span()=> #literal))
}

/// The text that an expression is, also one that another macro has handed on.
pub(crate) fn as_text(expression: &Expr) -> Option<&LitStr> {
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text),
        Expr::Group(group) => as_text(&group.expr),
        _ => None,
    }
}

/// Checks tags as far as they can be seen from here: what arguments make of a text isn't known.
pub(crate) fn check_tags(tags: &[Expr]) -> Result<()> {
    for text in tags.iter().filter_map(as_text) {
        let bytes = text.value().len();
        if bytes == 0 || (bytes > MOST_BYTES_OF_A_TAG && !text.value().contains('{')) {
            let message = format!("a tag has 1 to {MOST_BYTES_OF_A_TAG} bytes, and this one has {bytes}");
            return Err(Error::new(text.span(), message));
        }
    }
    Ok(())
}

fn written(time: Duration, span: Span) -> Expr {
    let seconds = Literal::u64_unsuffixed(time.as_secs());
    let duration = quote!(::core::time::Duration);
    match time.subsec_nanos() {
        0 => parse_quote_spanned!(span=> #duration::from_secs(#seconds)),
        nanos => parse_quote_spanned!(span=> #duration::new(#seconds, #nanos)),
    }
}
