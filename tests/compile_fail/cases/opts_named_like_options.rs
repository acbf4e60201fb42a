use cache_house::opts;

fn main() {
    let _ = opts!("user", 7, namespace = "users");
    let _ = opts!("user", 7, expire = 60, lang = "no");
    let _ = opts!("user", key_prefix = "shop");
    let _ = opts!("user", codec = 1);
    let _ = opts!("user", key_builder = 2);
}
