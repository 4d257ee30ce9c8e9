"""U-Nets for every pixel: from a folder of images and masks to exact masks of images of any size."""
