//! A service may have more methods than the compiler's recursion limit of 128.

use std::sync::Arc;

use nmfw::codegen::v1::{
    Call, Client, Context, Method, MethodSpec, Result, Service, ServiceBuilder, ServiceSpec,
};

macro_rules! service {
    ($($method:ident)*) => {
        static SPEC: ServiceSpec = ServiceSpec::new("wide", "Wide")
            .with_methods(&[$(MethodSpec::unary(stringify!($method))),*]);

        trait Wide: Send + Sync + 'static {
            $(fn $method(&self, ctx: Context, request: ())
                -> impl Future<Output = Result<()>> + Send;)*
        }

        struct WideServer;

        impl WideServer {
            fn new<T: Wide>(handler: T) -> Service {
                ServiceBuilder::new(&SPEC, Arc::new(handler))
                    $(.unary(const { SPEC.method_named(stringify!($method)) }, T::$method))*
                    .build()
            }
        }

        struct WideClient(Client);

        impl WideClient {
            $(fn $method(&self, request: ()) -> Call<()> {
                const METHOD: Method = SPEC.method_named(stringify!($method));
                self.0.unary(METHOD, request)
            })*
        }

        impl Wide for WideClient {
            $(async fn $method(&self, ctx: Context, request: ()) -> Result<()> {
                self.$method(request).context(&ctx).await
            })*
        }

        async fn call(wide: &impl Wide) {
            $(_ = wide.$method(Context::default(), ()).await;)*
        }
    };
}

service! {
    a0 a1 a2 a3 a4 a5 a6 a7 a8 a9
    b0 b1 b2 b3 b4 b5 b6 b7 b8 b9
    c0 c1 c2 c3 c4 c5 c6 c7 c8 c9
    d0 d1 d2 d3 d4 d5 d6 d7 d8 d9
    e0 e1 e2 e3 e4 e5 e6 e7 e8 e9
    f0 f1 f2 f3 f4 f5 f6 f7 f8 f9
    g0 g1 g2 g3 g4 g5 g6 g7 g8 g9
    h0 h1 h2 h3 h4 h5 h6 h7 h8 h9
    i0 i1 i2 i3 i4 i5 i6 i7 i8 i9
    j0 j1 j2 j3 j4 j5 j6 j7 j8 j9
    k0 k1 k2 k3 k4 k5 k6 k7 k8 k9
    l0 l1 l2 l3 l4 l5 l6 l7 l8 l9
    m0 m1 m2 m3 m4 m5 m6 m7 m8 m9
    n0 n1 n2 n3 n4 n5 n6 n7 n8 n9
}

fn main() {
    let client = |client: WideClient| async move { call(&client).await };
    let _ = |service: WideClient| WideServer::new(service);
    let _ = client;
}
