"""Who moves: crowds, recorded crowds, vehicles, traffic lights."""
