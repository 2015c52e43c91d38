"""Stages made on other machines: what a worker does for one, the engines that find workers, and how it goes."""
