package checker_test

import (
	"testing"

	"github.com/sallyport/sallyport/checker"
)

// An answer of 200 whose body tells of an error proves nothing; one that only has
// room for errors does.
func TestErrorsWithAGoodStatus(t *testing.T) {
	const asJSON, graphQL, asPage = "application/json; charset=utf-8", "application/graphql-response+json", "text/html; charset=UTF-8"
	for body, want := range map[string]struct {
		contentType string
		line        checker.Status
	}{
		`{"data":{"me":{"id":"1"}}}`:                               {graphQL, checker.OK},
		`{"data":{"me":{"id":"1"}},"errors":[]}`:                   {asJSON, checker.OK},
		`{"data":null,"errors":[{"message":"Not authenticated"}]}`: {graphQL, checker.Unverifiable},
		`{"errors":[{"message":"x"}],"data":{"me":{"id":"1"}}}`:    {asJSON, checker.Unverifiable},
		`{"error_code":"ComplexityException","data":{}}`:           {asJSON, checker.Unverifiable},
		`{"Code":0,"Error":null,"Context":{}}`:                     {asJSON, checker.OK},
		`{"Code":104,"Error":"KEY","Context":null}`:                {asJSON, checker.Unverifiable},
		`{"code":"1004","status":"error"}`:                         {asJSON, checker.Unverifiable},
		`{"status":"active","error":false}`:                        {asJSON, checker.OK},
		`{"status":"ok","error":""}`:                               {asJSON, checker.OK},
		`{"errcode":40001,"errmsg":"x"}`:                           {asJSON, checker.Unverifiable},
		`{"errcode":0,"errmsg":"ok"}`:                              {asJSON, checker.OK},
		`{"brand1":{"id":"1","name":"Acme"}}`:                      {asPage, checker.OK},
		`{"success":false}`:                                        {asPage, checker.Unverifiable},
		`No brands found`:                                          {asPage, checker.Unverifiable},
	} {
		r := newChecker(answer(200, want.contentType, body)).Check(t.Context(), api("https://api.example.com"), record("bearer", "token", canary))
		if r.Checks[0].Status != want.line {
			t.Errorf("%s: %s (%s); want %s", body, r.Checks[0].Status, r.Checks[0].Detail, want.line)
		}
	}
}
