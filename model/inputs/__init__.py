"""What goes into the network: pictures, backbone features, captions."""
