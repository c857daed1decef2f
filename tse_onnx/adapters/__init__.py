"""The conversion as a pass of other people's pipelines: a file for each, which imports what its extra installs."""
