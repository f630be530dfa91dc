package fault

import "maps"

// table is the diagnosis of every code. Nobody writes it.
var table = union(refusedHere, credentialTrouble, toldOfAnswers, notReached, adminAndGateway)

func union(parts ...map[Code]Diagnosis) map[Code]Diagnosis {
	all := map[Code]Diagnosis{}
	for _, p := range parts {
		maps.Copy(all, p)
	}
	return all
}
