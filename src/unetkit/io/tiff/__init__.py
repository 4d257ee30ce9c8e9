"""TIFF in and out: layout, regions, pyramids, GeoTIFF tags."""
