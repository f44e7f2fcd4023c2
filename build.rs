//! Unpacks the files of Swagger UI that the page at `/docs` loads, so that they are compiled in.

use std::error::Error;
use std::fs::File;
use std::io::{self, Cursor};
use std::path::Path;

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

const FILES: [&str; 2] = ["swagger-ui.css", "swagger-ui-bundle.js"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let folder = std::env::var("OUT_DIR")?;
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    let first = archive.file_names().next().ok_or("the archive of Swagger UI is empty")??.into_owned();
    let (top, _) = first.split_once('/').ok_or("the archive of Swagger UI has no folder")?;
    for file in FILES {
        let mut packed = archive.by_name(&format!("{top}/dist/{file}"))?;
        io::copy(&mut packed, &mut File::create(Path::new(&folder).join(file))?)?;
    }
    Ok(())
}
