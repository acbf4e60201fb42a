//! From the attribute and its function to the functions that take its place.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Expr, ExprReference, FnArg, GenericParam, Ident, Pat, Result, ReturnType, Signature, Token, parse_quote, parse2,
};

use crate::arguments::Arguments;
use crate::attributes::{Role, of_role};
use crate::function::{Function, Parameter};
use crate::interpolation::interpolate;
use crate::{body, output, words};

/// The functions that take the place of `function`; where it can't be cached, it stays as it is beside an error.
pub(crate) fn expand(arguments: TokenStream, function: TokenStream) -> TokenStream {
    Cached::new(arguments, function.clone()).map(|cached| cached.functions()).unwrap_or_else(|error| {
        let error = error.into_compile_error();
        quote!(#function #error)
    })
}

struct Cached {
    arguments: Arguments,
    function: Function,
    is_associated: bool,
}

impl Cached {
    fn new(arguments: TokenStream, function: TokenStream) -> Result<Self> {
        let mut arguments: Arguments = parse2(arguments)?;
        let function: Function = parse2(function)?;
        function.check(&arguments)?;
        for text in arguments.texts_mut() {
            interpolate(text, &function)?;
        }
        let is_associated = arguments.associated.unwrap_or_else(|| function.is_associated());
        Ok(Self { arguments, function, is_associated })
    }

    fn functions(&self) -> TokenStream {
        if self.arguments.siblings == Some(false) {
            return self.alone();
        }
        let (cached, refresh, work, options) = (self.cached(), self.refresh(), self.work(), self.options());
        let sign = self.sign();
        quote!(#cached #refresh #work #options #sign)
    }

    /// The function itself: looks into the cache, and calls its work where that has nothing.
    fn cached(&self) -> TokenStream {
        let attributes = of_role(&self.function.attributes, Role::Cached);
        self.calling(&attributes, self.function.signature.ident.clone(), None)
    }

    /// The function that runs its work whatever is cached.
    fn refresh(&self) -> TokenStream {
        let attributes = of_role(&self.function.attributes, Role::Refresh);
        let doc = format!(
            " `{}` anew, whatever is cached: runs the work, and stores its value in place of the old one.",
            self.function.signature.ident
        );
        let attributes = quote! {
            #[doc = #doc]
            #[allow(dead_code, clippy::missing_errors_doc, clippy::missing_panics_doc)]
            #attributes
        };
        // By the same method as the function itself, so that an error in either is reported once.
        self.calling(&attributes, self.sibling("refresh"), Some(quote!(.__refresh())))
    }

    /// A function that hands its work to the handle, with what `more` adds to its options.
    fn calling(&self, attributes: &TokenStream, ident: Ident, more: Option<TokenStream>) -> TokenStream {
        let visibility = &self.function.visibility;
        let signature = Signature { ident, inputs: self.passed_on(), ..self.function.signature.clone() };
        // Names that the user's expressions can't see.
        let (handle, options, work) = (hidden("handle"), hidden("options"), hidden("work"));
        let lookup = self.lookup(&handle);
        let way = self.way_of_name();
        let made = self.whole_options(more);
        let call_of_work = self.call_of_work();
        let call = self.call(&quote!(&#handle), options.to_token_stream(), work.to_token_stream());
        quote! {
            #attributes
            #visibility #signature {
                #lookup
                #way
                let #options = #made;
                let #work = move || #call_of_work;
                #call
            }
        }
    }

    /// The function with its work inside, where there is no room for siblings. The sign needs none: it's beside a free function,
    /// or refused.
    fn alone(&self) -> TokenStream {
        let Function { attributes, visibility, signature, .. } = &self.function;
        let (handle, options, work) = (hidden("handle"), hidden("options"), hidden("work"));
        let (way, made, closure, dot_await) = (
            self.way_of_name(),
            self.whole_options(None),
            body::as_closure(signature, &self.function.body),
            self.dot_await(),
        );
        let call = self.call(&quote!(&#handle), options.to_token_stream(), work.to_token_stream());
        let (sign, call_of_sign) = (self.sign(), self.call_of_sign());
        let body = match &self.arguments.handle {
            Some(given) => {
                let bound = self.bound_handle(given, &handle);
                quote! {
                    #bound
                    #way
                    let #options = #made;
                    let #work = #closure;
                    #call
                }
            }
            // The work moves what the options are made of, so they are made before; and it's written only once.
            None => {
                let installed = self.installed();
                quote! {
                    let #handle = #installed;
                    #way
                    let #options = match #handle {
                        ::core::option::Option::Some(_) => ::core::option::Option::Some(#made),
                        ::core::option::Option::None => ::core::option::Option::None,
                    };
                    let #work = #closure;
                    match (#handle, #options) {
                        (::core::option::Option::Some(#handle), ::core::option::Option::Some(#options)) => { #call }
                        _ => #work() #dot_await,
                    }
                }
            }
        };
        quote! {
            #(#attributes)*
            #visibility #signature {
                #call_of_sign
                #body
            }
            #sign
        }
    }

    /// The body, under another name.
    fn work(&self) -> TokenStream {
        let attributes = of_role(&self.function.attributes, Role::Work);
        let Function { visibility, body, .. } = &self.function;
        let mut signature = Signature { ident: self.sibling("uncached"), ..self.function.signature.clone() };
        self.allow_unused(&mut signature.inputs);
        let doc = format!(" `{}` without the cache: the work itself, each time.", self.function.signature.ident);
        quote! {
            #[doc = #doc]
            #[allow(clippy::missing_errors_doc, clippy::missing_panics_doc)]
            #attributes
            #visibility #signature #body
        }
    }

    /// The options that name a call's entry, for all else that can be done with it.
    fn options(&self) -> TokenStream {
        let attributes = of_role(&self.function.attributes, Role::Options);
        let visibility = &self.function.visibility;
        let doc = format!(
            " The options of a call of `{}`, which name its entry: for `remove`, `contains` and the like.",
            self.function.signature.ident
        );
        let signature = Signature {
            asyncness: None,
            ident: self.sibling("options"),
            inputs: self.used_in_options(),
            output: parse_quote!(-> ::cache_house::CacheOptions),
            ..self.function.signature.clone()
        };
        let made = self.made_options();
        // Of the names that aren't found at one place the compiler says the last.
        let call_of_sign = self.call_of_sign();
        quote! {
            #[doc = #doc]
            #attributes
            #[allow(dead_code, clippy::all, clippy::pedantic)]
            #visibility #signature {
                #call_of_sign
                #made
            }
        }
    }

    /// A function beside one that looks like a free one, and finds there what belongs to it. Where it's a type's after all, the
    /// compiler doesn't find it, and says its name; in `impl Trait for Type` it also says that the trait has no such method.
    fn sign(&self) -> Option<TokenStream> {
        let name = self.name_of_sign()?;
        let attributes = of_role(&self.function.attributes, Role::Options);
        Some(quote! {
            #attributes
            #[doc(hidden)]
            #[allow(dead_code, non_snake_case, clippy::missing_const_for_fn)]
            fn #name() {}
        })
    }

    fn call_of_sign(&self) -> Option<TokenStream> {
        self.name_of_sign().map(|sign| quote!(#sign();))
    }

    fn name_of_sign(&self) -> Option<Ident> {
        let is_guessed = !self.is_associated && self.arguments.associated.is_none();
        let name = self.function.signature.ident.unraw();
        // With a free function of the same name beside the type, a call from the type's would find that one's sign.
        let which = format!("{:08x}", self.function.fingerprint());
        is_guessed
            .then(|| format_ident!("write_associated_true_if_{name}_belongs_to_a_type_{which}", span = name.span()))
    }

    /// A statement that binds the handle, or goes without.
    fn lookup(&self, handle: &Ident) -> TokenStream {
        let Some(given) = &self.arguments.handle else {
            let (work, dot_await, installed) = (self.call_of_work(), self.dot_await(), self.installed());
            return quote! {
                let ::core::option::Option::Some(#handle) = #installed else {
                    return #work #dot_await;
                };
            };
        };
        self.bound_handle(given, handle)
    }

    /// The process-wide handle; that there is none is logged once, with this function's name.
    fn installed(&self) -> TokenStream {
        let name = self.function.signature.ident.unraw().to_string();
        quote!(::cache_house::CacheHouse::__installed(::core::concat!(::core::module_path!(), "::", #name)))
    }

    /// A statement that binds the given handle.
    fn bound_handle(&self, given: &Expr, handle: &Ident) -> TokenStream {
        let tokens = given.to_token_stream();
        let borrowed = reference_to(given);
        if self.function.moves_what_is_in(&tokens) {
            quote_spanned!(given.span()=> let #handle = ::cache_house::CacheHandle::clone(#borrowed);)
        } else {
            quote_spanned!(given.span()=> let #handle: &::cache_house::CacheHandle = #borrowed;)
        }
    }

    /// A statement that finds out which way the value goes, by the name of its type: whole, or only what `Ok` holds.
    fn way_of_name(&self) -> Option<TokenStream> {
        let ty = output::named(&self.function.signature)?;
        Some(self.way(&quote!(::cache_house::__attribute::Returned::<#ty>::named())))
    }

    /// The same of a type without a name, by the work.
    fn way_of_work(&self, work: &TokenStream) -> Option<TokenStream> {
        if output::named(&self.function.signature).is_some() {
            return None;
        }
        let by = if self.is_async() { quote!(by_async) } else { quote!(by) };
        Some(self.way(&quote!(::cache_house::__attribute::Returned::#by(&#work))))
    }

    fn way(&self, returned: &TokenStream) -> TokenStream {
        let way = hidden("way");
        match self.arguments.result {
            Some(true) => {
                let fallible = Ident::new("fallible", self.place_of_output());
                quote!(let #way = ::cache_house::__attribute::#fallible(#returned);)
            }
            Some(false) => quote!(let #way = #returned.whole();),
            None if output::is_bare_impl_trait(&self.function.signature) => quote!(let #way = #returned.whole();),
            None => quote! {
                let #way = {
                    #[allow(unused_imports)]
                    use ::cache_house::__attribute::Otherwise as _;
                    #returned.way()
                };
            },
        }
    }

    /// The call of the handle's method, at the return type: what can't be stored is reported there.
    fn call(&self, handle: &TokenStream, options: TokenStream, work: TokenStream) -> TokenStream {
        let way = hidden("way");
        let (of_work, dot_await) = (self.way_of_work(&work), self.dot_await());
        let method = Ident::new(if self.is_async() { "cached_async" } else { "cached" }, self.place_of_output());
        // Only a type that the attribute has to look at may turn out to be a `Result` after all.
        let options = match self.arguments.result {
            None => quote!(#way.checked(#options)),
            Some(_) => options,
        };
        quote! {
            #of_work
            #way.on(#handle).#method(#options, #work) #dot_await
        }
    }

    /// The options of a call with what they say about the value, and what `more` adds.
    fn whole_options(&self, more: Option<TokenStream>) -> TokenStream {
        let made = self.made_options();
        let Arguments { encoder, decoder, expire_by, store_if, .. } = &self.arguments;
        let pair = encoder.iter().zip(decoder).map(|(encoder, decoder)| quote!(.encoder(#encoder).decoder(#decoder)));
        let mut options = quote!(#made #more #(#pair)*);
        let way = hidden("way");
        for (option, function) in [("expire_by", expire_by), ("store_if", store_if)] {
            let Some(function) = function else { continue };
            let option = Ident::new(option, function.span());
            options = match output::named(&self.function.signature) {
                Some(_) => quote_spanned!(function.span()=> #way.#option(#options, #function)),
                None => quote_spanned!(function.span()=> #options.#option::<_, _>(#function)),
            };
        }
        options
    }

    fn made_options(&self) -> TokenStream {
        let Arguments { codec, expire, fence, key, key_builder, key_prefix, lease, module, namespace, version, .. } =
            &self.arguments;
        let name = match &self.arguments.name {
            Some(name) => name.to_token_stream(),
            None => self.function.signature.ident.unraw().to_string().to_token_stream(),
        };
        let module = match module {
            Some(module) => module.to_token_stream(),
            None if self.is_associated => quote!(::core::any::type_name::<Self>()),
            None => quote!(::core::module_path!()),
        };
        let keyed: Vec<TokenStream> = match key {
            Some(expressions) => expressions.iter().map(reference_to).map(|part| quote!(.arg(#part))).collect(),
            // Where it can't be part of the key, the compiler's message is our own.
            None => self
                .keyed()
                .map(|parameter| reference_to(&of_name(&parameter.name)))
                .map(|part| quote!(.__argument(#part)))
                .collect(),
        };
        let generics = self.function.generics().map(keyed_generic);
        let namespace = namespace.iter().map(reference_to);
        let key_prefix = key_prefix.iter().map(reference_to);
        let (expire, codec, key_builder) = (expire.iter(), codec.iter(), key_builder.iter());
        let (fence, lease, version) = (fence.iter(), lease.iter(), version.iter());
        let tags = self.arguments.tags.iter().map(reference_to);
        let freshness = self.arguments.freshness.iter().map(|(option, expression)| quote!(.#option(#expression)));
        quote! {
            ::cache_house::CacheOptions::new(#name).module(#module)
                #(#keyed)*
                #(#generics)*
                #(.namespace(#namespace))*
                #(.key_prefix(#key_prefix))*
                #(.expire(#expire))*
                #(.fence(#fence))*
                #(.lease(#lease))*
                #(.version(#version))*
                #(#freshness)*
                #(.tag(#tags))*
                #(.codec(#codec))*
                #(.key_builder(#key_builder))*
        }
    }

    /// The arguments that are part of the key, where `key` doesn't say otherwise.
    fn keyed(&self) -> impl Iterator<Item = &Parameter> {
        self.function.parameters.iter().filter(|parameter| !self.arguments.skip.contains(&parameter.name))
    }

    /// The function's arguments as the cached one takes them: it changes none.
    fn passed_on(&self) -> Punctuated<FnArg, Token![,]> {
        let mut inputs = self.function.signature.inputs.clone();
        for argument in &mut inputs {
            match argument {
                FnArg::Receiver(receiver) => {
                    receiver.attrs.clear();
                    receiver.mutability = None;
                }
                FnArg::Typed(argument) => {
                    argument.attrs.clear();
                    if let Pat::Ident(pattern) = argument.pat.as_mut() {
                        pattern.mutability = None;
                    }
                }
            }
        }
        inputs
    }

    /// Arguments that the attribute uses, and the body perhaps not.
    fn allow_unused(&self, inputs: &mut Punctuated<FnArg, Token![,]>) {
        let used: TokenStream = self.arguments.expressions().map(ToTokens::to_token_stream).collect();
        for argument in inputs {
            if let FnArg::Typed(argument) = argument
                && let Pat::Ident(pattern) = argument.pat.as_ref()
                && words::mentions(used.clone(), &pattern.ident.to_string())
            {
                argument.attrs.push(parse_quote!(#[allow(unused_variables)]));
            }
        }
    }

    /// Those that the options of a call depend on. Nobody has to come by a connection to remove an entry.
    fn used_in_options(&self) -> Punctuated<FnArg, Token![,]> {
        let of_options: TokenStream = self.arguments.of_options().map(ToTokens::to_token_stream).collect();
        let is_used = |name: &Ident| {
            let is_keyed = self.arguments.key.is_none() && self.keyed().any(|parameter| parameter.name == *name);
            is_keyed || words::mentions(of_options.clone(), &name.to_string())
        };
        let myself: Option<FnArg> = words::mentions(of_options.clone(), "self").then(|| parse_quote!(&self));
        let used = self.function.parameters.iter().filter(|parameter| is_used(&parameter.name));
        myself.into_iter().chain(used.map(|Parameter { name, ty }| parse_quote!(#name: #ty))).collect()
    }

    fn call_of_work(&self) -> TokenStream {
        let name = self.sibling("uncached");
        let path = if self.is_associated { quote!(Self::#name) } else { name.into_token_stream() };
        let generics: Vec<&Ident> = self.function.generics().filter_map(name_of_generic).collect();
        let generics = (!generics.is_empty()).then(|| quote!(::<#(#generics),*>));
        let myself = self.function.signature.receiver().map(|receiver| receiver.self_token.to_token_stream());
        let arguments = self.function.parameters.iter().map(|parameter| parameter.name.to_token_stream());
        let arguments = myself.into_iter().chain(arguments);
        quote!(#path #generics(#(#arguments),*))
    }

    fn place_of_output(&self) -> Span {
        match &self.function.signature.output {
            ReturnType::Default => self.function.signature.ident.span(),
            ReturnType::Type(_, ty) => ty.span(),
        }
    }

    fn dot_await(&self) -> Option<TokenStream> {
        self.is_async().then(|| quote!(.await))
    }

    fn is_async(&self) -> bool {
        self.function.signature.asyncness.is_some()
    }

    fn sibling(&self, suffix: &str) -> Ident {
        format_ident!("{}_{suffix}", self.function.signature.ident.unraw(), span = self.function.signature.ident.span())
    }
}

/// A name that isn't the user's, whatever theirs are.
pub(crate) fn hidden(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// `&expression`, with parentheses where it needs them.
pub(crate) fn reference_to(expression: &Expr) -> Expr {
    Expr::Reference(ExprReference {
        attrs: Vec::new(),
        and_token: Token![&](expression.span()),
        mutability: None,
        expr: Box::new(expression.clone()),
    })
}

fn of_name(name: &Ident) -> Expr {
    parse_quote!(#name)
}

/// Part of the key, so that no two instances of a generic function share.
fn keyed_generic(parameter: &GenericParam) -> TokenStream {
    let Some(ident) = name_of_generic(parameter) else { return TokenStream::new() };
    let name = ident.unraw().to_string();
    match parameter {
        GenericParam::Const(_) => quote!(.kwarg(#name, #ident)),
        _ => quote!(.kwarg(#name, ::core::any::type_name::<#ident>())),
    }
}

fn name_of_generic(parameter: &GenericParam) -> Option<&Ident> {
    match parameter {
        GenericParam::Const(constant) => Some(&constant.ident),
        GenericParam::Type(ty) => Some(&ty.ident),
        GenericParam::Lifetime(_) => None,
    }
}
