"""What a net is: the members of the U-Net family, by composition."""
