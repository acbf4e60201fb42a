use cache_house::cached;

#[cached(namespace = "tenant-{tenent}")]
fn misspelt(tenant: u32) -> u32 {
    tenant
}

#[cached(namespace = "{N}")]
fn a_constant<const N: usize>(id: u32) -> u32 {
    id
}

#[cached(namespace = "{self}")]
fn without_self(id: u32) -> u32 {
    id
}

#[cached(namespace = "tenant-{}")]
fn unnamed(tenant: u32) -> u32 {
    tenant
}

#[cached(namespace = "tenant-{0}")]
fn by_position(tenant: u32) -> u32 {
    tenant
}

#[cached(namespace = "tenant-{tenant:04}")]
fn with_a_format(tenant: u32) -> u32 {
    tenant
}

#[cached(namespace = "tenant-{tenant.0}")]
fn a_field(tenant: (u32, u32)) -> u32 {
    tenant.0
}

#[cached(namespace = "tenant-{tenant")]
fn opened(tenant: u32) -> u32 {
    tenant
}

#[cached(namespace = "{{tenant}")]
fn closed(tenant: u32) -> u32 {
    tenant
}

struct Tenant;

#[cached(namespace = "tenant-{tenant}", key(1))]
fn without_display(tenant: &Tenant) -> u32 {
    let Tenant = tenant;
    1
}

fn main() {}
