//! Texts that must not change between releases, compared with the files beside this one.

/// Compares `actual` with the golden file `name`. After a change that is meant, `UPDATE_GOLDEN=1` writes the file anew.
pub(crate) fn assert_golden(name: &str, actual: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("the golden file is there").replace("\r\n", "\n");
    assert_eq!(actual, expected, "{name} has changed: what running programs have stored would be lost or misread");
}
