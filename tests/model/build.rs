//! Has the crate's sources take their surroundings from the model.

fn main() {
    println!("cargo::rustc-cfg=cache_house_model");
    println!("cargo::rustc-check-cfg=cfg(cache_house_model)");
    println!("cargo::rerun-if-changed=build.rs");
}
