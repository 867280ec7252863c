//! Attributes that a build script adds to the items of services.

use quote::ToTokens;
use syn::Attribute;
use syn::parse::Parser;

use crate::error::Error;
use crate::settings::matches;

/// Attributes with the paths of the services that get them.
#[derive(Default)]
pub(crate) struct ServiceAttributes(Vec<(String, Vec<Attribute>)>);

impl ServiceAttributes {
    /// Parses the attributes of a builder.
    ///
    /// # Errors
    /// Fails if one is not an attribute.
    pub(crate) fn parse(attributes: &[(String, String)]) -> Result<Self, Error> {
        let parsed = attributes.iter().map(|(path, text)| {
            let attributes = Attribute::parse_outer.parse_str(text).map_err(|error| {
                Error::config(format!("`{text}` is no attribute for a service: {error}"))
            })?;
            Ok((path.clone(), attributes))
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }

    /// Returns the attributes of a service's item.
    pub(crate) fn of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a Attribute> {
        let matching = self.0.iter().filter(|(path, _)| matches(path, service));
        matching.flat_map(|(_, attributes)| attributes)
    }

    /// Returns the conditions of a service's item, which its implementations share.
    pub(crate) fn conditions<'a>(
        &'a self,
        service: &'a str,
    ) -> impl Iterator<Item = impl ToTokens> {
        self.of(service)
            .filter(|attribute| attribute.path().is_ident("cfg"))
    }
}
