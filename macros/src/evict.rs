//! The attribute `evict`: a function that removes cached values once it has ended.

use proc_macro2::{Group, Span, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, ExprAssign, Ident, Result, Signature, Token, Visibility, parse2};

use crate::expand::{hidden, reference_to};
use crate::function::ends_with;
use crate::{body, output};

const EXAMPLE: &str = "write the cached call whose value is to go, such as `get_user(id)`";

/// The function with the removals behind its body; where it can't have them, it stays as it is beside an error.
pub(crate) fn expand(arguments: TokenStream, function: TokenStream) -> TokenStream {
    let evict = || Ok(Evict { arguments: parse2(arguments)?, writer: parse2(function.clone())? });
    evict().map(|evict: Evict| evict.function()).unwrap_or_else(|error: Error| {
        let error = error.into_compile_error();
        quote!(#function #error)
    })
}

struct Evict {
    arguments: Arguments,
    writer: Writer,
}

/// What is written between the parentheses of `#[evict(…)]`.
struct Arguments {
    handle: Option<Expr>,
    /// The options of the calls whose values go.
    options: Vec<Expr>,
}

/// The function that the attribute stands on.
struct Writer {
    attributes: Vec<Attribute>,
    visibility: Visibility,
    signature: Signature,
    body: Group,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut arguments = Self { handle: None, options: Vec::new() };
        if input.is_empty() {
            return Err(Error::new(Span::call_site(), EXAMPLE));
        }
        for given in Punctuated::<Expr, Token![,]>::parse_terminated(input)? {
            match given {
                Expr::Assign(assigned) => arguments.take(assigned)?,
                call => arguments.options.push(options_of(call)?),
            }
        }
        match &arguments.handle {
            Some(handle) if arguments.options.is_empty() => Err(Error::new(handle.span(), EXAMPLE)),
            _ => Ok(arguments),
        }
    }
}

impl Arguments {
    /// `handle = …`
    fn take(&mut self, ExprAssign { left, right, .. }: ExprAssign) -> Result<()> {
        let is_handle = matches!(&*left, Expr::Path(path) if path.path.is_ident("handle"));
        if !is_handle {
            return Err(Error::new(left.span(), format!("`handle` is the only argument that has a `=`; {EXAMPLE}")));
        }
        match self.handle.replace(*right) {
            Some(_) => Err(Error::new(left.span(), "`handle` is given twice")),
            None => Ok(()),
        }
    }
}

/// `get_user_options(id)` of `get_user(id)`.
fn options_of(call: Expr) -> Result<Expr> {
    match call {
        Expr::Call(mut call) => {
            if let Expr::Path(path) = &mut *call.func
                && let Some(last) = path.path.segments.last_mut()
            {
                last.ident = sibling(&last.ident);
                return Ok(Expr::Call(call));
            }
            Err(Error::new(call.span(), EXAMPLE))
        }
        Expr::MethodCall(mut call) => {
            call.method = sibling(&call.method);
            Ok(Expr::MethodCall(call))
        }
        // As a declarative macro hands it on.
        Expr::Group(group) => options_of(*group.expr),
        other => Err(Error::new(other.span(), EXAMPLE)),
    }
}

fn sibling(function: &Ident) -> Ident {
    format_ident!("{}_options", function.unraw(), span = function.span())
}

impl Parse for Writer {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let signature = match input.fork().parse::<Signature>() {
            Ok(_) => input.parse::<Signature>()?,
            Err(_) => return Err(input.error("`evict` goes on a function")),
        };
        if let Some(constness) = &signature.constness {
            return Err(Error::new(constness.span(), "a `const fn` can't evict: a removal isn't constant"));
        }
        if output::is_future(&signature) {
            let message = "the function has ended before the future that it returns has; put `evict` on an `async fn`, of the type itself \
                           if this one is in a trait for `async_trait`";
            return Err(Error::new(signature.ident.span(), message));
        }
        if input.peek(Token![;]) {
            return Err(input.error("without a body there is nothing to wait for: put `evict` where the body is"));
        }
        if let Some(cached) = attributes.iter().find(|attribute| ends_with(attribute.path(), "cached")) {
            let message = "a cached function doesn't run each time it's called, so it can't evict: put `evict` on one that isn't cached";
            return Err(Error::new_spanned(cached, message));
        }
        Ok(Self { attributes, visibility, signature, body: input.parse()? })
    }
}

impl Evict {
    fn function(&self) -> TokenStream {
        let Writer { attributes, visibility, signature, body } = &self.writer;
        let name = signature.ident.unraw().to_string();
        let writer = quote!(::core::concat!(::core::module_path!(), "::", #name));
        let (handle, returned, is_done) = (hidden("handle"), hidden("returned"), hidden("is_done"));
        let names: Vec<Ident> = (0..self.arguments.options.len()).map(|at| hidden(&format!("options_{at}"))).collect();
        let options = &self.arguments.options;
        // The body may move what the handle and the options are made of.
        let (given, installed) = match &self.arguments.handle {
            Some(given) => {
                let given = reference_to(given);
                let cloned = quote!(::core::option::Option::Some(::cache_house::CacheHandle::clone(#given)));
                (Some(quote!(let #handle = #cloned;)), None)
            }
            None => (None, Some(quote!(let #handle = ::cache_house::CacheHouse::installed();))),
        };
        let (ran, evict, dot_await) = match signature.asyncness {
            Some(_) => (body::as_future(signature, body), quote!(evict_async), Some(quote!(.await))),
            None => {
                let closure = body::as_closure(signature, body);
                (quote!(::cache_house::__attribute::run(#closure)), quote!(evict), None)
            }
        };
        quote! {
            #(#attributes)*
            #visibility #signature {
                #given
                #(let #names = #options;)*
                let #returned = #ran #dot_await;
                let #is_done = {
                    #[allow(unused_imports)]
                    use ::cache_house::__attribute::Otherwise as _;
                    ::cache_house::__attribute::Returned::of(&#returned).way().is_done(&#returned)
                };
                #installed
                if let (true, ::core::option::Option::Some(#handle)) = (#is_done, &#handle) {
                    #(::cache_house::__attribute::#evict(#handle, #names, #writer) #dot_await;)*
                }
                #returned
            }
        }
    }
}
