package checker_test

import (
	"testing"

	"github.com/sallyport/sallyport/checker"
)

// An answer of 200 whose body tells of an error proves nothing; one that only has
// room for errors does.
func TestErrorsWithAGoodStatus(t *testing.T) {
	const asJSON, graphQL, asText, asXML, asPage = "application/json; charset=utf-8", "application/graphql-response+json", "text/plain; charset=utf-8", "application/xml", "text/html; charset=UTF-8"
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

		`{"code":401,"message":"Unauthorized"}`:            {asJSON, checker.Unverifiable},
		`{"status":401,"title":"Unauthorized"}`:            {asJSON, checker.Unverifiable},
		`{"statusCode":"403"}`:                             {asJSON, checker.Unverifiable},
		`{"status_code":500}`:                              {asJSON, checker.Unverifiable},
		`{"message":"Invalid API key"}`:                    {asJSON, checker.Unverifiable},
		`{"Message":"The token has expired."}`:             {asJSON, checker.Unverifiable},
		`{"msg":"Not authenticated"}`:                      {asJSON, checker.Unverifiable},
		`{"fault":{"faultstring":"Invalid access token"}}`: {asJSON, checker.Unverifiable},
		`{"success":"false"}`:                              {asJSON, checker.Unverifiable},
		`{"success":0,"data":null}`:                        {asJSON, checker.Unverifiable},
		`{"Success":false}`:                                {asJSON, checker.Unverifiable},
		`{"result":"error"}`:                               {asJSON, checker.Unverifiable},
		`{"status":"FAIL"}`:                                {asJSON, checker.Unverifiable},
		`{"error_description":"x"}`:                        {"", checker.Unverifiable},
		`"Invalid API key"`:                                {asJSON, checker.Unverifiable},
		` {"ok":false}`:                                    {asText, checker.Unverifiable},
		`Invalid API key`:                                  {asText, checker.Unverifiable},
		`401 Unauthorized`:                                 {asText, checker.Unverifiable},
		`token expired`:                                    {"", checker.Unverifiable},
		`<!doctype html><title>Sign in</title>`:            {asText, checker.Unverifiable},
		"\n<html><body>in</body></html>":                   {"", checker.Unverifiable},
		`<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"/>`:        {asXML, checker.Unverifiable},
		`<?xml version="1.0" encoding="ISO-8859-1"?><Error><Code>x</Code></Error>`: {asXML, checker.Unverifiable},
		`<error>x</error>`: {asText, checker.Unverifiable},
		`<s:Envelope xmlns:s="x"><s:Body><s:Fault/></s:Body></s:Envelope>`: {asXML, checker.Unverifiable},
		`<rsp stat="fail"><err code="100"/></rsp>`:                         {asXML, checker.Unverifiable},

		// what ordinary answers look like
		`{"code":0,"message":"success","data":{"code":401}}`:                   {asJSON, checker.OK},
		`{"code":200,"status":200,"message":"OK"}`:                             {asJSON, checker.OK},
		`{"code":"404","name":"Acme"}`:                                         {asJSON, checker.OK},
		`{"status":"active","result":"success"}`:                               {asJSON, checker.OK},
		`{"success":true,"error":null,"errors":[]}`:                            {asJSON, checker.OK},
		`{"message":"Welcome, your token is valid"}`:                           {asJSON, checker.OK},
		`{"message":"pong","description":"sends invalid addresses to a list"}`: {asJSON, checker.OK},
		`{"items":[{"status":"error","code":404}],"total":2}`:                  {asJSON, checker.OK},
		`{"fault":null,"ok":1}`:                                                {asJSON, checker.OK},
		`[]`:                                                                   {asJSON, checker.OK},
		`"pong"`:                                                               {asJSON, checker.OK},
		`1`:                                                                    {asText, checker.OK},
		`PONG!`:                                                                {asText, checker.OK},
		`id,name` + "\n" + `1,Ann`:                                             {"text/csv", checker.OK},
		`<?xml version="1.0"?><user status="ok"><name>Ann</name></user>`: {asXML, checker.OK},
		`<p>1</p>`: {asXML, checker.OK},
	} {
		r := newChecker(answer(200, want.contentType, body)).Check(t.Context(), api("https://api.example.com"), record("bearer", "token", canary))
		if r.Checks[0].Status != want.line {
			t.Errorf("%s: %s (%s); want %s", body, r.Checks[0].Status, r.Checks[0].Detail, want.line)
		}
	}
}
