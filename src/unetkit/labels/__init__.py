"""Classes, objects and borders in masks; numpy arrays in and out."""
