//! What the attribute writes, as a reader would see it.

use proc_macro2::TokenStream;

use crate::evict;
use crate::expand::expand;

fn tokens(text: &str) -> TokenStream {
    text.parse().expect("it's Rust")
}

/// What `#[cached(arguments)]` makes of `function`, formatted.
fn written(arguments: &str, function: &str) -> String {
    let file = syn::parse2(expand(tokens(arguments), tokens(function))).expect("it's a file of functions");
    prettyplease::unparse(&file)
}

/// The same for a method of `Users`.
fn written_in_impl(arguments: &str, function: &str) -> String {
    let functions = expand(tokens(arguments), tokens(function));
    let file = syn::parse2(quote::quote!(impl Users { #functions })).expect("it's an impl block");
    prettyplease::unparse(&file)
}

#[test]
fn a_free_function_uses_the_installed_handle() {
    insta::assert_snapshot!(written(
        "",
        "/// Adds up.
         #[must_use]
         pub fn sum(n: u64) -> u64 { (1..=n).sum() }",
    ));
}

#[test]
fn an_async_function_with_every_kind_of_argument() {
    insta::assert_snapshot!(written(
        r#"handle = state.cache, namespace = "users", key_prefix = prefix(), expire = "1h 30m", codec = MessagePack,
           skip(state), name = "user", key_builder = by_name"#,
        "#[tracing::instrument] #[cfg(unix)]
         async fn get_user(state: &State, mut id: u64) -> Result<User, Error> { id += 1; state.db.load(id).await }",
    ));
}

#[test]
fn options_between_processes_are_handed_on() {
    let written = written("fence = false, lease = \"5s\", version = 3", "fn sum(n: u64) -> u64 { n }");
    let options: String = written.split_whitespace().collect();
    assert!(options.contains(".fence(false).lease(::core::time::Duration::from_secs(5)).version(3)"), "{written}");
}

#[test]
fn options_of_freshness_are_handed_on() {
    let arguments = "jitter = 1, stale_while_revalidate = \"2s\", stale_if_error = life(), retry_after = \"4ms\",
                     refresh_early = 1, soft_timeout = \"6s\", hard_timeout = \"7s\", max_staleness = \"1s\"";
    let written = written(arguments, "fn sum(n: u64) -> u64 { n }");
    let options: String = written.split_whitespace().collect();
    let expected = ".jitter(::core::time::Duration::from_secs(1))
                    .stale_while_revalidate(::core::time::Duration::from_secs(2))
                    .stale_if_error(life())
                    .retry_after(::core::time::Duration::new(0,4000000u32))
                    .refresh_early(1f64)
                    .soft_timeout(::core::time::Duration::from_secs(6))
                    .hard_timeout(::core::time::Duration::from_secs(7))
                    .max_staleness(::core::time::Duration::from_secs(1))";
    assert_eq!(options.matches(&expected.split_whitespace().collect::<String>()).count(), 3, "{written}");
}

#[test]
fn a_text_with_braces_takes_up_arguments_in_every_sibling() {
    insta::assert_snapshot!(written_in_impl(
        r##"handle = self.cache, key(id), namespace = "{tenant}-{{{r }}}-{tenant}-{self}""##,
        "fn find(&self, tenant: &str, id: u64, r#r: String) -> u64 { id }",
    ));
}

#[test]
fn tags_are_texts_or_expressions_and_every_sibling_has_them() {
    insta::assert_snapshot!(written(
        r#"tags("team-{team}", "all", of(user)), skip(team)"#,
        "async fn load(team: u32, user: User) -> Result<u64, Error> { user.load(team).await }",
    ));
    let (one, other) = (r#"tags("a", ["b", NAME], ["c-{n}"])"#, r#"tags("a", "b", NAME, "c-{n}")"#);
    let function = "fn sum(n: u64) -> u64 { n }";
    assert_eq!(written(one, function), written(other, function));
}

#[test]
fn a_namespace_that_is_no_text_with_braces_stays_as_it_is() {
    for namespace in ["\"users\"", "format!(\"{}\", n)", "concat!(\"{n}\", \"\")", "NAMES[0]"] {
        let written = written(&format!("namespace = {namespace}"), "fn sum(n: u64) -> u64 { n }");
        let reference = format!(".namespace(&{namespace})");
        assert_eq!(written.matches(&reference).count(), 3, "{written}");
    }
}

#[test]
fn functions_of_the_value_are_told_its_type() {
    insta::assert_snapshot!(written(
        "expire_by = |user| user.life, store_if = Option::is_some, encoder = encode, decoder = decode",
        "fn user(id: u64) -> io::Result<Option<User>> { load(id) }",
    ));
    for (output, ty) in
        [("-> User", Some("User")), ("", Some("()")), ("-> impl Sized", None), ("-> Api<impl Sized>", None)]
    {
        let written = written("store_if = f", &format!("fn user(id: u64) {output} {{ load(id) }}"));
        let returned = ty.map_or("Returned::by(&work)".to_owned(), |ty| format!("Returned::<{ty}>::named()"));
        assert!(written.contains(&returned), "{written}");
        assert_eq!(written.contains(".store_if::<_, _>(f)"), ty.is_none(), "{written}");
    }
}

#[test]
fn a_return_type_without_a_name_is_told_by_the_work() {
    insta::assert_snapshot!(written("", "async fn all(n: u64) -> Api<impl Iterator> { Ok(0..n) }"));
    let bare = written("", "fn all(n: u64) -> impl Iterator { 0..n }");
    assert!(bare.contains("Returned::by(&work).whole()"), "{bare}");
    for (result, way) in [
        ("true", "fallible(::cache_house::__attribute::Returned::<Api<User>>::named())"),
        ("false", "Returned::<Api<User>>::named().whole()"),
    ] {
        let written = written(&format!("result = {result}"), "fn user(id: u64) -> Api<User> { load(id) }");
        let tokens = written.split_whitespace().collect::<String>().replace(",)", ")");
        assert!(tokens.contains(way), "{written}");
    }
}

#[test]
fn without_siblings_the_work_is_inside() {
    insta::assert_snapshot!(written_in_impl(
        "siblings = false, handle = self.cache",
        "/// Finds it.
         #[tracing::instrument]
         async fn find(&self, mut id: u64) -> Result<User, Error> { id += 1; self.db.load(id).await }",
    ));
    insta::assert_snapshot!(written("siblings = false", "pub fn sum(n: u64) -> u64 { (1..=n).sum() }"));
}

#[test]
fn that_a_function_is_free_is_checked_where_it_is_guessed() {
    let is_checked = |arguments: &str, function: &str| {
        let written = written_in_impl(arguments, function);
        // The function, and a call of it.
        match written.matches("write_associated_true_if_find_belongs_to_a_type_").count() {
            0 => false,
            2 => true,
            count => panic!("{count} times in {written}"),
        }
    };
    for siblings in ["", "siblings = false"] {
        assert!(is_checked(siblings, "fn find(id: u64) -> u64 { id }"), "{siblings}");
        assert!(is_checked(siblings, "async fn find(id: u64) -> u64 { id }"), "{siblings}");
        for own in ["fn find(&self, id: u64) -> u64 { id }", "fn find(id: u64) -> u64 { Self::load(id) }"] {
            assert!(!is_checked(siblings, own), "{siblings}: {own}");
        }
    }
    for associated in ["true", "false"] {
        let arguments = format!("siblings = false, associated = {associated}");
        assert!(!is_checked(&arguments, "fn find(id: u64) -> u64 { id }"), "{associated}");
    }
}

#[test]
fn a_method_is_keyed_by_its_type() {
    insta::assert_snapshot!(written_in_impl(
        "handle = self.cache, encoder = User::encode, decoder = User::decode, expire = self.life",
        "async fn get<'a, T: Id, const N: usize>(&'a self, id: T, more: [u8; N]) -> User where T: Copy {
             self.load(id).await
         }",
    ));
}

#[test]
fn a_handle_in_an_argument_that_is_moved_is_cloned() {
    insta::assert_snapshot!(written_in_impl(
        "handle = self.cache, key(user.id, 1 + 1)",
        "fn load(&mut self, user: &User) -> Option<String> { self.db.load(user) }",
    ));
}

#[test]
fn attributes_go_where_they_belong() {
    insta::assert_snapshot!(written(
        "",
        r#"#[deprecated]
           #[doc(alias = "total")]
           #[expect(clippy::unwrap_used, reason = "an example")]
           #[cfg_attr(unix, doc = "On Unix.", inline, log::calls)]
           #[cfg_attr(test, allow(unused))]
           fn sum(#[allow(unused_mut)] mut n: u64) {}"#,
    ));
}

#[test]
fn a_function_that_is_refused_stays_beside_the_error() {
    insta::assert_snapshot!(written("expire = \"soon\"", "fn sum(n: u64) -> u64 { n }"));
}

#[test]
fn a_writer_evicts_once_its_body_has_ended() {
    let evict = |arguments: &str, function: &str| {
        let file = syn::parse2(evict::expand(tokens(arguments), tokens(function))).expect("it's a file of functions");
        prettyplease::unparse(&file)
    };
    insta::assert_snapshot!(evict(
        "handle = state.cache, get_user(id), users::Users::find::<u8>(id, &name.clone()), state.count()",
        "/// Writes.
         #[tracing::instrument]
         pub async fn write(state: State, mut id: u64, name: String) -> Result<(), Error> { state.db.write(id, name).await }",
    ));
    insta::assert_snapshot!(evict("get_user(id)", "fn write(id: u64) { DB.write(id) }"));
    insta::assert_snapshot!(evict("get_user", "fn write(id: u64) { DB.write(id) }"));
}
