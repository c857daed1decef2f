"""A report as one HTML file: the page that it is collected on, its pictures, and the document around them."""
