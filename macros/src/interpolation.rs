//! Texts of the attribute that take up the function's arguments, as those of `format!` do: `"tenant-{tenant}"`.

use proc_macro2::Ident;
use syn::ext::IdentExt;
use syn::{Error, Expr, LitStr, Result, parse_quote};

use crate::function::Function;
use crate::literals::as_text;
use crate::words;

const ADVICE: &str = "write `{name}` for an argument, `{{` and `}}` for braces, or an expression such as `format!(…)` in place of the text";

/// Makes of a text with braces an expression that puts the arguments in. All else stays as it is.
pub(crate) fn interpolate(given: &mut Expr, function: &Function) -> Result<()> {
    if let Some(text) = as_text(given)
        && text.value().contains(['{', '}'])
    {
        *given = formatted(text, function)?;
    }
    Ok(())
}

/// The arguments are named one by one, so that they're those of the function whoever has written the text.
fn formatted(text: &LitStr, function: &Function) -> Result<Expr> {
    let names = names(text)?;
    let values = names.iter().map(|name| argument(name, text, function)).collect::<Result<Vec<_>>>()?;
    let names = names.iter().map(|name| Ident::new(name, text.span()));
    Ok(parse_quote!(::std::format!(#text, #(#names = #values),*)))
}

/// The names between the text's braces, each once.
fn names(text: &LitStr) -> Result<Vec<String>> {
    let wrong = |problem: String| Err(Error::new(text.span(), format!("{problem}; {ADVICE}")));
    let value = text.value();
    let mut names = Vec::new();
    let mut rest = value.as_str();
    while let Some(at) = rest.find(['{', '}']) {
        let braced = &rest[at..];
        if braced.starts_with("{{") || braced.starts_with("}}") {
            rest = &braced[2..];
            continue;
        }
        let Some((name, after)) = braced.strip_prefix('{').and_then(|braced| braced.split_once('}')) else {
            return wrong(format!("a `{}` stands alone", &braced[..1]));
        };
        rest = after;
        // As `format!` has it.
        let name = name.trim_end();
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            return wrong(format!("`{{{name}}}` names no argument"));
        }
        if !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return wrong(format!("`{{{name}}}` isn't just the name of an argument"));
        }
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The argument of this name, as if it stood in the text.
fn argument(name: &str, text: &LitStr, function: &Function) -> Result<Ident> {
    let myself = function.signature.receiver().map(|receiver| Ident::new("self", receiver.self_token.span));
    let arguments = function.parameters.iter().map(|parameter| parameter.name.clone()).chain(myself);
    let arguments: Vec<(String, Ident)> = arguments.map(|argument| (argument.unraw().to_string(), argument)).collect();
    if let Some((_, argument)) = arguments.iter().find(|(known, _)| known == name) {
        let mut argument = argument.clone();
        argument.set_span(argument.span().located_at(text.span()));
        return Ok(argument);
    }
    let known: Vec<&str> = arguments.iter().map(|(known, _)| known.as_str()).collect();
    let advice = match words::nearest(name, &known) {
        Some(meant) => format!("did you mean `{{{meant}}}`?"),
        None => ADVICE.to_owned(),
    };
    let message = format!("`{}` has no argument `{name}`; {advice}", function.signature.ident);
    Err(Error::new(text.span(), message))
}
